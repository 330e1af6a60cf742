"""Arbitrary style transfer: a picture's features with the moments of another's, and back to a picture.

A style is a bank of one site: means and variances of the encoder's last features over a picture, or over several of one style.

Reference: Huang & Belongie, *Arbitrary Style Transfer in Real-time with Adaptive Instance Normalization*, ICCV 2017; with an
affine between, Gong, Chen, Chen & Wang, *Sandwich batch normalization*, WACV 2022, section 4.4.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from renorm.banks import Bank, Statistics, fingerprint, merge, versions
from renorm.functional import Moments, instance_moments, unbiased
from renorm.functional import merge as merge_moments
from renorm.models.encoder import LAYERS, STRIDE, TAPS, Decoder, Encoder
from renorm.models.encoder_weights import load_decoder, load_encoder
from renorm.models.regions import Styles, over_cells, share, shares_of, weighed, wide
from renorm.models.tiles import padded, reach, side_within, tiles
from renorm.models.weights import tensors_of

SITE = TAPS[-1]
BYTES = 28  # of each pixel and channel of the first layers: measured on networks of 16 and 64


class Stylizer(nn.Module):
    r"""Pictures in the style of others.

    .. math:: t = \sigma_s \left(\gamma \frac{f - \mu(f)}{\sigma(f)} + \beta\right) + \mu_s

    of the encoder's features f, decoded; per picture and channel, with :math:`\sigma` the root of the unbiased variance + eps.
    Without ``affine`` :math:`\gamma = 1` and :math:`\beta = 0`, which is AdaIN; with it both are trained and begin there.

    Shape: pictures ``(N, 3, H, W)`` in 0..1, of at least 9 pixels a side, to the same. Values may leave 0..1: clamp them where a
    picture is written. ``style = 0`` of a mixture gives the reconstruction, not the picture.

    Args:
        encoder: frozen.
        decoder: of its widths.
        affine: whether there are :math:`\gamma` and :math:`\beta`, ``(C,)``.

    Attributes:
        bound: the most that deviations are enlarged, :math:`\sigma_s / \sigma(f)`; without one the noise of a nearly flat content
            may be enlarged hundreds of times.

    Raises:
        ValueError: an encoder and a decoder of other widths.

    Example:
        >>> widths = (4, 4, 8, 8, 8, 8, 8, 8, 16)
        >>> net = Stylizer(renorm.models.Encoder(widths), renorm.models.Decoder(widths))
        >>> painting = net.style(torch.rand(1, 3, 32, 32))
        >>> net(torch.rand(2, 3, 21, 40), painting).shape
        torch.Size([2, 3, 21, 40])
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, *, affine: bool = False, eps: float = 1e-5) -> None:
        super().__init__()
        if encoder.widths != decoder.widths:
            raise ValueError(
                f"an encoder of the widths {list(encoder.widths)} and a decoder of {list(decoder.widths)} were given. A decoder "
                f"reads what its encoder gives. Take the one that was trained with it."
            )
        self.encoder, self.decoder, self.eps = encoder.requires_grad_(False), decoder, eps
        self.bound = math.inf
        self._hashed: tuple[int, str | None] = -1, None
        channels = encoder.widths[-1]
        self.weight = nn.Parameter(torch.ones(channels)) if affine else None
        self.bias = nn.Parameter(torch.zeros(channels)) if affine else None

    @classmethod
    def load(cls, encoder: str | Path, decoder: str | Path | None = None) -> Stylizer:
        """AdaIN from the files of an encoder and its decoder, see :func:`load_encoder` and :func:`load_decoder`.

        Without a decoder: from the folder of a run of ``renorm train-style``, or from one file that holds all, as
        ``stylizer.safetensors`` in its checkpoint.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it cannot be read, or holds something else.
        """
        if decoder is not None:
            return cls(load_encoder(encoder), load_decoder(decoder)).eval()
        path = Path(encoder)
        tensors = tensors_of(_newest(path) if path.is_dir() else path)
        if "encoder.conv1_1.weight" not in tensors or "decoder.conv1_1.weight" not in tensors:
            raise ValueError(
                f"{encoder} holds {', '.join(list(tensors)[:3])}, ... and no decoder was given. An encoder and its decoder are "
                f"needed. Name the decoder's file too: decoder=, in the shell --decoder."
            )
        return cls.of_tensors(tensors)

    @classmethod
    def of_tensors(cls, tensors: Mapping[str, Tensor]) -> Stylizer:
        """The network that a state is of, as wide as its tensors, in evaluation mode."""
        widths = [len(tensors[f"encoder.{layer}.bias"]) for layer in LAYERS]
        net = cls(Encoder(widths), Decoder(widths), affine="weight" in tensors)
        net.load_state_dict(dict(tensors))
        return net.eval()

    @torch.no_grad()
    def style(self, pictures: Tensor | Sequence[Tensor], masks: Sequence[Tensor | None] | None = None) -> Bank:
        """The style of a picture, or of several that have one style together.

        Args:
            pictures: ``(N, 3, H, W)``, or each ``(3, H, W)`` of a size of its own, of at least 16 pixels a side. The size counts:
                at half or twice the size a picture is another style.
            masks: of each ``(H, W)``, 0 where it is transparent.

        Raises:
            ValueError: no picture, one that is too small, or fewer than two opaque cells of one.
        """
        if not len(pictures):
            raise ValueError(
                "no picture was given. A style is that of at least one. Give a batch, or a list of pictures."
            )
        each = list(pictures) if masks is None else list(zip(pictures, masks, strict=True))
        banks = [self._style(*(one if isinstance(one, tuple) else (one, None))) for one in each]
        sizes = sorted({f"{x.shape[-2]} x {x.shape[-1]}" for x in pictures})
        return replace(merge(banks), data=f"pictures of {', '.join(sizes)}", weights=self._hash())

    def _style(self, picture: Tensor, mask: Tensor | None) -> Bank:
        features = self.encoder(picture[None])
        if mask is None:
            found = instance_moments(features)
        else:
            found = weighed(features, over_cells(mask.to(features)[None], features).round())
        count = int(torch.as_tensor(found.count).flatten()[0])
        return Bank({SITE: Statistics(found.mean[0], unbiased(found)[0], count)}, samples=1)

    def forward(self, content: Tensor, style: Styles, alpha: float = 1.0, own: Bank | None = None) -> Tensor:
        """Pictures in a style.

        Args:
            style: a bank of :meth:`style`; or several, each with its weight, a number or a soft mask ``(H, W)`` of the picture;
                where weights do not add up to 1 they are divided by their sum. A region has the moments of its own.
            alpha: 1 is the style, 0 the content's own, which is the decoder's reconstruction; linear between, in means and
                standard deviations.
            own: moments that the content is normalized by, in place of each picture's: the same for every frame of a video,
                so that what does not move does not flicker. :meth:`style` of the content gives them.

        Raises:
            ValueError: pictures that are too small, a bank of another encoder, masks of another size or of fewer than two cells.
        """
        features = self.encoder(padded(content))
        y = self.decoder(self.target(features, style, alpha, own, content.shape[-2:]))
        return y[..., : content.shape[-2], : content.shape[-1]]

    def target(self, features: Tensor, style: Styles, alpha: float, own: Bank | None, size: Sequence[int]) -> Tensor:
        """The features that the decoder is given, of pictures of a size."""
        styles = shares_of(style)
        shares = [share(weight, features, size) for weight in styles.values()]
        masks = [part for part in shares if isinstance(part, Tensor)]
        together = sum(shares)
        total = together.clamp(min=1) if isinstance(together, Tensor) else together
        mixed = features * (1 - together / total) if masks else torch.zeros_like(features)  # where no mask reaches
        for bank, part in zip(styles, shares, strict=True):
            site = self.site(bank).to(features)
            mean, std = self._own(features, own, part if isinstance(part, Tensor) else None)
            mixed = mixed + self.renormed((features - mean) / std, std, site) * (part / total)
        return mixed if alpha == 1 else torch.lerp(features, mixed, alpha)

    def renormed(self, z: Tensor, std: Tensor, style: StyleMoments) -> Tensor:
        """Normalized features with the moments of a style.

        Args:
            z: features, normalized.
            std: the deviations that they were divided by, ``(N or 1, C, 1, 1)``.
        """
        if self.weight is not None and self.bias is not None:
            z = z * wide(self.weight) + wide(self.bias)
        scale = wide(style.std)
        return z * (scale if self.bound == math.inf else scale.minimum(self.bound * std)) + wide(style.mean)

    def _own(self, features: Tensor, own: Bank | None, region: Tensor | None) -> tuple[Tensor, Tensor]:
        """Means and deviations to normalize by, ``(N or 1, C, 1, 1)``."""
        if own is not None:
            site = self.site(own).to(features)
            return wide(site.mean), wide(site.std)
        return self.moments(features, region)

    def moments(self, features: Tensor, region: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Means and deviations of each picture's features, or of a region of them, ``(N, C, 1, 1)``."""
        found = instance_moments(features) if region is None else weighed(features, region)
        mean, std = found.mean, (unbiased(found) + self.eps).sqrt()
        return mean[..., None, None].to(features), std[..., None, None].to(features)

    def _hash(self) -> str | None:
        """Of the encoder's weights, computed again where they changed."""
        now = versions(self.encoder)
        if self._hashed[0] != now:
            self._hashed = now, fingerprint(self.encoder)
        return self._hashed[1]

    def site(self, bank: Bank) -> StyleMoments:
        """The moments of a style that this encoder measured.

        Raises:
            ValueError: it is none, or another encoder's.
        """
        if bank.sites.keys() != {SITE} or len(bank.sites[SITE].mean) != self.encoder.widths[-1]:
            raise ValueError(
                f"{bank!r} is no style of this encoder, which has one site, {SITE}, of {self.encoder.widths[-1]} channels. A "
                f"style is what net.style(pictures) gives. Measure it again."
            )
        if bank.weights is not None and bank.weights != self._hash():
            raise ValueError(
                f"{bank!r} is a style of another encoder, whose features mean something else. A style belongs to the encoder "
                f"that measured it. Measure it again by net.style(pictures)."
            )
        return StyleMoments(bank.sites[SITE].mean, (bank.sites[SITE].var + self.eps).sqrt())

    @torch.no_grad()
    def tiled(
        self, content: Tensor, style: Styles, alpha: float = 1.0, own: Bank | None = None, *, tile: int = 512
    ) -> Tensor:
        """:meth:`forward` of one large picture by tiles, with the moments of the whole: the same pixels in less memory.

        Args:
            content: ``(1, 3, H, W)``.
            tile: pixels a side of what is computed at once, beside a halo of 64.

        Raises:
            ValueError: as :meth:`forward`; several pictures.
        """
        if len(content) != 1 or any(isinstance(weight, Tensor) for weight in shares_of(style).values()):
            raise ValueError(
                f"{len(content)} pictures or a mask were given. Tiles are of one picture, in styles of one weight each. Give "
                f"pictures one by one, or call the network."
            )
        whole, halo = padded(content), reach()
        own = own or self._tiled_moments(whole, tile, halo)
        y = torch.empty_like(whole)
        for inner, outer, within in tiles(whole.shape[-2:], tile, halo):
            features = self.encoder(whole[(..., *outer)])
            part = self.decoder(self.target(features, style, alpha, own, features.shape[-2:]))
            y[(..., *inner)] = part[(..., *within)]
        return y[..., : content.shape[-2], : content.shape[-1]]

    def memory(self, sides: Sequence[int]) -> float:
        """Gigabytes that a picture of a height and a width takes as a whole, about."""
        return BYTES * self.encoder.widths[0] * math.prod(sides) / 1e9

    def tile(self, sides: Sequence[int], memory: float) -> int | None:
        """The side of tiles that fit into so many gigabytes, None where the whole picture does.

        Raises:
            ValueError: not even the smallest fit.
        """
        return None if self.memory(sides) <= memory else side_within(memory, self.memory([1, 1]))

    def _tiled_moments(self, whole: Tensor, tile: int, halo: int) -> Bank:
        found: Moments | None = None
        for _, outer, within in tiles(whole.shape[-2:], tile, halo):
            cells = tuple(slice(part.start // STRIDE, part.stop // STRIDE) for part in within)
            m = instance_moments(self.encoder(whole[(..., *outer)])[(..., *cells)].contiguous())
            found = m if found is None else merge_moments(found, m)
        assert found is not None
        return Bank({SITE: Statistics(found.mean[0], unbiased(found)[0])}, weights=self._hash())


def _newest(run: Path) -> Path:
    """The file of the network in the newest checkpoint of a run."""
    found = sorted(run.glob("checkpoint/step-*/stylizer.safetensors"))
    if not found:
        raise ValueError(
            f"{run} has no checkpoint of a style network. The folder of a run of renorm train-style is needed, or an encoder's "
            f"file with its decoder's. Name such."
        )
    return found[-1]


class StyleMoments:
    """Means and deviations ``(C,)``."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        self.mean, self.std = mean, std

    def to(self, like: Tensor) -> StyleMoments:
        return StyleMoments(self.mean.to(like), self.std.to(like))
