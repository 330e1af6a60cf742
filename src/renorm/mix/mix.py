"""Mixing samples in training: images by CutMix or Mixup, moments by exchange, labels by both."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from renorm.mix.draws import Draw, Mixing, Within, draw_permutation, selected, step_random
from renorm.mix.exchange import MomentExchange

Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class CutMix:
    r"""Paste a box of the partner's image; a label weighs as the area that is left of its image.

    The box has the share :math:`1 - \lambda` of the area, :math:`\lambda \sim Beta(\beta, \beta)`, its centre anywhere; what
    falls outside the image is cut off, and the weight is that of the box that remains.

    Args:
        beta: of the distribution of areas.
        probability: of a step with pasted boxes; published are 1 for ImageNet and 0.5 for CIFAR.

    Reference: Yun et al., *CutMix: regularization strategy to train strong classifiers with localizable features*, ICCV 2019.
    """

    beta: float = 1.0
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check("beta", self.beta, self.probability)

    def sample(self, x: Tensor, scalars: random.Random) -> tuple[Box | None, float]:
        """The box of a step, and the weight of a sample's own label."""
        if x.ndim != 4:
            raise ValueError(
                f"a batch of shape {tuple(x.shape)} was given. CutMix pastes boxes of images, (N, C, H, W). Use Mixup."
            )
        if scalars.random() >= self.probability:
            return None, 1.0
        height, width = x.shape[2:]
        side = (1 - scalars.betavariate(self.beta, self.beta)) ** 0.5
        top, bottom = _cut(height, int(height * side), scalars)
        left, right = _cut(width, int(width * side), scalars)
        return (top, left, bottom, right), 1 - (bottom - top) * (right - left) / (height * width)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The images with the boxes pasted."""
        if draw.box is None:
            return x
        top, left, bottom, right = draw.box
        y = x.clone()
        y[:, :, top:bottom, left:right] = x[:, :, top:bottom, left:right][draw.permutation]
        return y


@dataclass(frozen=True)
class Mixup:
    r"""Average images and labels with those of the partner: :math:`\lambda x + (1 - \lambda) x_\pi`.

    Args:
        alpha: :math:`\lambda \sim Beta(\alpha, \alpha)`; published are 0.2 for ImageNet and 1 for CIFAR.
        probability: of a step with averaged images.

    Reference: Zhang, Cisse, Dauphin & Lopez-Paz, *mixup: beyond empirical risk minimization*, ICLR 2018.
    """

    alpha: float = 0.2
    probability: float = 1.0

    def __post_init__(self) -> None:
        _check("alpha", self.alpha, self.probability)

    def sample(self, x: Tensor, scalars: random.Random) -> tuple[Box | None, float]:
        """No box, and the weight of a sample's own image and label."""
        if not x.is_floating_point():
            raise TypeError(
                f"a batch of {x.dtype} was given. Mixup averages floating point images. Convert them first."
            )
        drawn = scalars.random() < self.probability
        return None, scalars.betavariate(self.alpha, self.alpha) if drawn else 1.0

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The averaged images."""
        return x if draw.pixels == 1 else torch.lerp(x[draw.permutation], x, draw.pixels)


class Mix(Mixing):
    r"""Mix images, moments, or both, with one permutation and one loss.

    With c the weight of a sample's own pixels and m that of its own moments,

    .. math:: L = c m \, l(y) + [(1-c) m + c (1-m)] \, l(y_\pi) + (1-c)(1-m) \, l(y_{\pi\pi})

    and the ordinary loss of two terms in a step that draws only one of both.

    In a model with branches partners are kept within their branch, by the route that is open when a step is drawn. In
    evaluation mode of the model nothing is mixed.

    Args:
        images: how images are mixed.
        exchange: where and how moments are exchanged.
        model: whose mode and branches to follow; that of the exchange, if there is one. Without a model, every call mixes.

    Raises:
        ValueError: nothing to mix, or a model beside that of the exchange.

    Reference: Li, Wu, Lim, Belongie & Weinberger, *On feature normalization and data augmentation*, CVPR 2021.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(72, 5))
        >>> exchange = renorm.MomentExchange(model, after="1", weight=0.9, probability=0.25)
        >>> mix = renorm.Mix(renorm.CutMix(), exchange)
        >>> x, y = torch.randn(4, 3, 5, 5), torch.tensor([0, 1, 2, 3])
        >>> loss = mix.loss(torch.nn.functional.cross_entropy, model(mix(x)), y)
    """

    def __init__(
        self,
        images: CutMix | Mixup | None = None,
        exchange: MomentExchange | None = None,
        *,
        model: nn.Module | None = None,
    ) -> None:
        if images is None and exchange is None:
            raise ValueError(
                "neither images= nor exchange= was given. A mix needs something to mix. "
                "Pass renorm.CutMix(), renorm.Mixup() or a renorm.MomentExchange."
            )
        if exchange is not None and model is not None:
            raise ValueError("exchange= and model= were given. The exchange knows its model. Leave model= out.")
        self.images, self.exchange = images, exchange
        self.model = model if exchange is None else exchange.model

    @property
    def training(self) -> bool:
        """Whether the model trains; always without a model."""
        return self.model is None or self.model.training

    def sample(self, x: Tensor, generator: torch.Generator | None = None, groups: Tensor | None = None) -> Draw:
        """Draw partners, the pixels and the moments that are mixed for a batch, and change nothing."""
        drawn, within = step_random(generator), self._within() if groups is None else None
        permutation = draw_permutation(x, drawn, within, groups)
        donors, moments = (None, 1.0) if self.exchange is None else self.exchange.decide(permutation, drawn)
        box, pixels = (None, 1.0) if self.images is None else self.images.sample(x, drawn.scalars)
        return Draw(permutation, donors, moments, pixels, box, within)

    def use(self, draw: Draw | None) -> None:
        """Make the next forwards, until their loss, follow a draw; ``None`` is none."""
        self.draw = draw
        if self.exchange is not None:
            self.exchange.use(draw)

    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The batch with its images mixed."""
        return x if self.images is None else self.images.apply(x, draw)

    def finish(self) -> Draw | None:
        """End the forwards of the step: what was drawn, after a check that they followed it."""
        return super().finish() if self.exchange is None else self.exchange.finish()

    def _within(self) -> Within | None:
        if self.exchange is not None:
            return self.exchange.within()
        return None if self.model is None else selected(self.model)

    def __repr__(self) -> str:
        return f"Mix({', '.join(repr(part) for part in (self.images, self.exchange) if part is not None)})"


def _check(name: str, concentration: float, probability: float) -> None:
    if concentration <= 0:
        raise ValueError(
            f"{name}={concentration} was given. It is the parameter of a Beta distribution. Pass a number above 0."
        )
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability} was given. It is a share of steps. Pass a number from 0 to 1.")


def _cut(size: int, length: int, scalars: random.Random) -> tuple[int, int]:
    """Where a segment of a length around a random centre begins and ends inside the image."""
    centre = scalars.randrange(size)
    return max(centre - length // 2, 0), min(centre + length // 2, size)
