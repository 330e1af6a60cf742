"""Options of what is mixed; see :mod:`renorm.recipes.classify.mixing`, which checks them. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

MixKind = Literal["exchange", "cutmix", "mixup", "exchange+cutmix"]
ExchangeOver = Literal["pono", "in", "ln", "gn", "gpono"]


@dataclass(frozen=True)
class Exchange:
    """The exchange of moments.

    Args:
        weight: Share of its own label that an image keeps where its moments are exchanged; by default as published,
            0.5 up to 96 pixels (from CIFAR) and 0.9 above (ImageNet), as is all that follows.
        probability: Of a step that exchanges: 0.25; above 96 pixels 1 without CutMix.
        over: Whose moments: ``pono`` (each position), ``in`` (each channel), ``ln`` (each image), or those of groups
            of channels, ``gpono`` and ``gn``; by default ``pono``, as published for images.
        groups: Groups of ``gn`` and ``gpono``.
        after: Layer after which to exchange; by default the end of the stem where the kind of model is known.
        before: Or before which.
        channel_dim: Where channels are at that layer; -1 for tokens.
    """

    weight: float | None = None
    probability: float | None = None
    over: ExchangeOver | None = field(default=None, metadata={"formerly": "exchange_norm"})
    groups: int | None = None
    after: str | None = None
    before: str | None = None
    channel_dim: int = 1


@dataclass(frozen=True)
class ImageMix:
    """Images that are mixed.

    Args:
        beta: Boxes and averages weigh as a number from Beta(b, b): 1; for ``mixup`` above 96 pixels 0.2.
        probability: Of a step with mixed images: 1; for CutMix up to 96 pixels 0.5.
    """

    beta: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class MixOptions:
    """Parts of other images, and of their labels.

    Args:
        kind: Give images parts of others, and parts of their labels: ``exchange`` moments of features, paste boxes
            (``cutmix``), average images (``mixup``), or ``exchange+cutmix``; by default nothing is mixed. Partners
            are drawn for each forward, what is done to them once for each step, in each process by itself. The loss
            weighs labels as they were mixed, and the accuracy in training is the share of the labels that was
            predicted.
        across: Mix the views of all branches with each other; by default partners are views of one branch.
        exchange: Its settings, where moments are exchanged.
        image: Its settings, where images are mixed.
    """

    kind: MixKind = field(metadata={"flat": "mix"})
    across: bool = field(default=False, metadata={"flat": "mix_across"})
    exchange: Exchange = field(default_factory=Exchange, metadata={"prefix": "exchange_"})
    image: ImageMix = field(default_factory=ImageMix, metadata={"prefix": "image_", "remedy": "--mix cutmix"})
