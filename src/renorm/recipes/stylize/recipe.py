"""Training the decoder of a style network, and the affine that all styles may share.

Reference: Huang & Belongie, *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*, ICCV 2017; Gong, Chen,
Chen & Wang, *Sandwich batch normalization*, WACV 2022, section 4.4.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.data import Images, load, seeded, splits_of
from renorm.functional import adain, instance_moments, unbiased
from renorm.models import Decoder, Encoder, Stylizer, load_decoder, load_encoder, wants_pictures
from renorm.notice import notice
from renorm.recipes.order import in_turn
from renorm.recipes.paths import described
from renorm.recipes.stylize.config import Config
from renorm.recipes.stylize.opened import NETWORK
from renorm.train import Plan, Recipe, check_finite, inverse_decay, join

SHOWN = 8  # held-out pairs that each record has numbers of
LEAST = 15.0  # dB of a decoder that fits its encoder
NORMALIZED = 200  # contents that an encoder of torchvision is normalized on


class Pairs(NamedTuple):
    """Contents and styles, ``(N, 3, H, W)`` in 0..1; and the step they are of."""

    contents: Tensor
    styles: Tensor
    total: int
    step: int


@dataclass(frozen=True)
class Cut:
    """A random square of a picture whose short side is scaled before; its sides keep their ratio.

    Shape: ``(3, H, W)`` uint8 to ``(3, crop, crop)`` in 0..1.
    """

    size: int
    crop: int

    def __call__(self, picture: Tensor) -> Tensor:
        height, width = picture.shape[-2:]
        scale = self.size / min(height, width)
        sides = [max(self.crop, round(side * scale)) for side in (height, width)]
        x = picture[None].float() / 255
        scaled = F.interpolate(x, sides, mode="bilinear", antialias=True)[0].clamp(0, 1) if scale != 1 else x[0]
        top, left = (int(u * (side - self.crop + 1)) for u, side in zip(torch.rand(2).tolist(), sides, strict=True))
        return scaled[:, top : top + self.crop, left : left + self.crop]


class Stylization(Recipe):
    """A decoder behind a frozen encoder.

    Args:
        config: What to train.
        contents: Pictures; by default they and ``styles`` are what the configuration names.
        styles: Others.
        held: Contents and styles that are not trained on; by default those of the configuration, none where pictures are given.
        device: Where to train; by default on an accelerator if there is one.

    Raises:
        ValueError: If the crop does not fit, or the configuration names too little.
    """

    def __init__(
        self,
        config: Config,
        contents: Images | None = None,
        styles: Images | None = None,
        *,
        held: tuple[Images, Images] | None = None,
        device: str | None = None,
    ) -> None:
        self.config, self.processes, self.described = config, join(device), described(config)
        self._check()
        self.contents = (read(config.contents, "train", config.holdout) if contents is None else contents).whole()
        self.styles = (read(config.styles, "train", config.holdout) if styles is None else styles).whole()
        self.held = held_out(config) if held is None and contents is None else held
        self.net = begun(config, self.contents).to(self.processes.device)
        if config.decoder is not None:
            self._tell_reconstruction()
        self.networks = {NETWORK: self.net}
        self.optimizers = {
            NETWORK: torch.optim.Adam([p for p in self.net.parameters() if p.requires_grad], config.rate)
        }
        self.plan = Plan(-(-config.steps // config.each), config.each, config.save_every, config.trackers)

    def _check(self) -> None:
        config = self.config
        for name in ("contents", "styles", "encoder"):
            if not getattr(config, name):
                raise ValueError(f"no {name} were named. Training a style network needs them. Say --{name}.")
        if config.crop % 8 or not 16 <= config.crop <= config.size:
            raise ValueError(
                f"a crop of {config.crop} from pictures of {config.size} was asked for. It has to be a multiple of 8, at least "
                f"16, and no larger than the short side. Choose --crop and --size so."
            )
        if self.processes.count > 1:
            raise ValueError(
                f"{self.processes.count} processes were started. A style network trains in one. Start one."
            )

    def _tell_reconstruction(self) -> None:
        """Say so where the decoder does not give back what the encoder saw, which otherwise looks like bad training."""
        cut, config = Cut(self.config.size, self.config.crop), self.config
        shown = [
            seeded(cut, self.contents.pixels[i], config.seed, "shown", i) for i in range(min(3, len(self.contents)))
        ]
        found = reconstruction(self.net, torch.stack(shown).to(self.processes.device))
        if not found >= LEAST:
            notice(
                f"{config.decoder} gives contents back at {found:.1f} dB; decoders of this encoder do at 18 to 23. It may be "
                f"of another encoder, or of one of another scale."
            )

    def rates(self, step: int) -> Mapping[str, float]:
        """Falls as the inverse of the steps."""
        return {NETWORK: inverse_decay(step, self.config.rate, self.config.decay)}

    def batches(self, epoch: int, first: int) -> Iterator[Pairs]:
        """Contents beside styles, each in random orders of all of them."""
        for number in range(first, self.plan.steps):
            step = epoch * self.plan.steps + number
            contents = self._cut(self.contents, step, "content")
            yield Pairs(contents, self._cut(self.styles, step, "style"), self.config.batch, step)

    def _cut(self, images: Images, step: int, role: str) -> Tensor:
        config, cut = self.config, Cut(self.config.size, self.config.crop)
        indices = in_turn(len(images), step * config.batch, config.batch, config.seed, role).tolist()
        found = [seeded(cut, images.pixels[i], config.seed, role, step, k) for k, i in enumerate(indices)]
        return torch.stack(found)

    def step(self, batch: Pairs) -> dict[str, float]:
        """Train the decoder on one batch: to reconstruct first, then to stylize."""
        contents, styles = (x.to(self.processes.device) for x in (batch.contents, batch.styles))
        if batch.step < self.config.reconstruct:
            numbers = {"reconstruction": F.mse_loss(self.net.decoder(self.net.encoder(contents)), contents)}
            loss = numbers["reconstruction"]
        else:
            numbers = losses(self.net, contents, styles, attach=self.config.attach)
            loss = numbers["content"] + self.config.weight * numbers["style"]
        optimizer = self.optimizers[NETWORK]
        check_finite(float(loss.detach()), optimizer.param_groups[0]["lr"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = {"loss": loss, **numbers}
        return {name: float(value.detach()) for name, value in found.items()} | affine_numbers(self.net)

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses of held-out pairs."""
        if self.held is None:
            return {}
        pairs = list(held_pairs(self.held, self.config, SHOWN))
        contents, styles = (torch.cat(x).to(self.processes.device) for x in zip(*pairs, strict=True))
        found = losses(self.net, contents, styles)
        return {f"held out/{name}": float(value) for name, value in found.items()}

    def describe(self) -> dict[str, Any]:
        """The configuration, and what opening the network needs."""
        return {**self.described, "widths": list(self.net.encoder.widths)}


def read(name: str, split: str, holdout: float) -> Images:
    """Pictures of any size: a split of data that have some, else of a division."""
    return load(name, split, holdout=0.0 if splits_of(name) else holdout, labels=False).whole()


def held_out(config: Config) -> tuple[Images, Images] | None:
    """Contents and styles that are not trained on; None where nothing is held out."""
    names = (config.contents, config.styles)
    if not config.holdout and not all(splits_of(name) for name in names):
        return None
    contents, styles = (read(name, "test", config.holdout) for name in names)
    return contents, styles


def held_pairs(held: tuple[Images, Images], config: Config, number: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The first so many contents, beside styles in turn: of each a square, the same at every call. Shape: ``(1, 3, crop, "
    "crop)``.
    """
    contents, styles = held
    cut = Cut(config.size, config.crop)
    for i in range(min(number, len(contents))):
        k = i % len(styles)
        yield (
            seeded(cut, contents.pixels[i], "held out", "content", i)[None],
            seeded(cut, styles.pixels[k], "held out", "style", k)[None],
        )


def begun(config: Config, contents: Images) -> Stylizer:
    """The network as training begins: the encoder's file, and a decoder of a file or of He's random weights."""
    torch.manual_seed(config.seed)
    pictures = batches_of(contents, config) if wants_pictures(config.encoder) else None
    encoder = load_encoder(config.encoder, pictures)
    return Stylizer(encoder, decoder_of(config, encoder), affine=config.affine)


def batches_of(contents: Images, config: Config) -> Iterator[Tensor]:
    """Squares of contents that an encoder is normalized on."""
    cut = Cut(config.size, config.crop)
    for i in in_turn(len(contents), 0, min(NORMALIZED, len(contents)), config.seed, "normalized").tolist():
        yield seeded(cut, contents.pixels[i], config.seed, "normalized", i)[None]


def decoder_of(config: Config, encoder: Encoder) -> Decoder:
    """What a file holds; or random weights, by which features keep their size from layer to layer.

    Reference: He et al., *Delving Deep into Rectifiers*, ICCV 2015.
    """
    if config.decoder is not None:
        return load_decoder(Path(config.decoder))
    decoder = Decoder(encoder.widths)
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)  # pyright: ignore[reportArgumentType]
    return decoder


@torch.no_grad()
def reconstruction(net: Stylizer, pictures: Tensor) -> float:
    """How well pictures come back without a style: the peak signal-to-noise ratio in dB."""
    y = net.decoder(net.encoder(pictures)).clamp(0, 1)
    return float(-10 * F.mse_loss(y, pictures).log10())


def losses(net: Stylizer, contents: Tensor, styles: Tensor, *, attach: bool = False) -> dict[str, Tensor]:
    r"""How far a stylized picture's features are from the target, and its moments from those of the style.

    .. math:: L_c = \mathrm{MSE}(f(g(t)), t), \qquad
        L_s = \sum_l \mathrm{MSE}(\mu_l(g(t)), \mu_l(s)) + \mathrm{MSE}(\sigma_l(g(t)), \sigma_l(s))

    over relu1_1, relu2_1, relu3_1 and relu4_1.

    Args:
        attach: whether gradients of :math:`L_c` flow into the target t itself, beside those through the decoder.
    """
    with torch.no_grad():
        features, wanted = net.encoder(contents), net.encoder.features(styles)
    style = list(wanted.values())[-1]
    target = adain(features, style, net.weight, net.bias, net.eps)
    found = net.encoder.features(net.decoder(target))
    content = F.mse_loss(list(found.values())[-1], target if attach else target.detach())
    return {"content": content, "style": style_loss(found, wanted)}


def style_loss(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], eps: float = 1e-5) -> Tensor:
    """The squared differences of means and deviations, of each layer their mean."""
    terms = []
    for name, x in found.items():
        (mean, std), (mean_wanted, std_wanted) = (_moments(t, eps) for t in (x, wanted[name]))
        terms += [F.mse_loss(mean, mean_wanted), F.mse_loss(std, std_wanted)]
    return torch.stack(terms).sum()


def _moments(x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    m = instance_moments(x)
    return m.mean, (unbiased(m) + eps).sqrt()


def affine_numbers(net: Stylizer) -> dict[str, float]:
    """How far the shared affine is from none."""
    if net.weight is None or net.bias is None:
        return {}
    pairs = {"weight": net.weight.detach(), "bias": net.bias.detach()}
    return {f"{name}/{what}": float(getattr(t, what)()) for name, t in pairs.items() for what in ("min", "mean", "max")}
