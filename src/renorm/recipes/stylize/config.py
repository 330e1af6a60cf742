"""What a style network can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class Config:
    """A decoder that turns features with the moments of a style into pictures, and how it trains.

    Args:
        contents: Pictures to stylize, by a name or a path as in ``renorm train``; labels are left alone.
        styles: Pictures whose styles are given.
        encoder: File of the encoder, the community's vgg_normalised.pth for instance, or torchvision:vgg19, which is normalized
            on the contents. The run keeps it.
        decoder: File of the decoder to begin with; without one it begins with random weights.
        affine: Train an affine between, shared by all styles: a sandwich.
        attach: Let gradients flow into the target too, as the authors of the sandwich do: its content loss can fall because the
            target moves.
        reconstruct: Steps in which the decoder first learns to give back contents, by their pixels.
        weight: Of the style loss.
        steps: In all.
        each: Steps between records, checkpoints and sheets of pairs.
        batch: Contents of a step, and styles.
        size: Pixels of a picture's short side, before a crop.
        crop: Side of the random crop, a multiple of 8.
        rate: Of Adam.
        decay: By which the rate falls: it is divided by 1 + decay times the step.
        holdout: Share of contents and of styles that are data without splits which is held out, for pairs that are never
            trained on; of others it is their split test.
        save_every: Steps between checkpoints within a record; 0 saves with each record only.
        trackers: Where the numbers of each record go too, as in ``renorm train``.
        seed: Of the weights, the order and the crops.
    """

    recipe: ClassVar[str] = "stylize"
    contents: str = field(default="", metadata={"files": "data"})
    styles: str = field(default="", metadata={"files": "data"})
    encoder: str = field(default="", metadata={"files": "data"})
    decoder: str | None = field(default=None, metadata={"files": "data"})
    affine: bool = False
    attach: bool = False
    reconstruct: int = 0
    weight: float = 10.0
    steps: int = 160_000
    each: int = 1000
    batch: int = 8
    size: int = 512
    crop: int = 256
    rate: float = 1e-4
    decay: float = 5e-5
    holdout: float = 0.1
    save_every: int = 0
    trackers: tuple[str, ...] = ()
    seed: int = 0
