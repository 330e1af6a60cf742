"""Views of a training image: ``clean``, ``weak`` and ``strong``.

A view takes one uint8 image and draws from torch's global CPU generator, as torchvision's transforms do.
:func:`seeded` makes the result a function of a key alone and gives the generator back, so that neither workers nor
order matter.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data.crops import Centered, Resized
from renorm.data.frame import SMALL
from renorm.data.operations import GREY, to_picture, to_tensor
from renorm.data.policies import LearnedOn, Policy, RandAugment
from renorm.data.policies import policy as policy_of

View = Callable[[Tensor], Tensor]
Crop = Literal["auto", "padded", "resized"]

NAMES = ("clean", "weak", "strong")


def clean(image: Tensor) -> Tensor:
    """Give the image as it is."""
    return image


@dataclass(frozen=True)
class Weak:
    """Random crop after padding with black, then perhaps a horizontal flip. Shape: ``(3, H, W)``, kept.

    Args:
        padding: Pixels on every side.
        flip: Whether half of the images are mirrored; digits must not be.
        before: What makes images of one size.
    """

    padding: int
    flip: bool = True
    before: View = clean

    def __call__(self, image: Tensor) -> Tensor:
        """Draw one view."""
        image = self.before(image)
        top, left, mirrored = torch.randint(0, 2 * (2 * self.padding + 1), (3,)).tolist()
        top, left, mirrored = top // 2, left // 2, mirrored % 2
        height, width = image.shape[-2:]
        padded = F.pad(image, (self.padding,) * 4)[..., top : top + height, left : left + width]
        return padded.flip(-1) if self.flip and mirrored else padded


@dataclass(frozen=True)
class Strong:
    """The weak view, a random policy on top, and a square cut out. Shape: as the weak view's.

    Args:
        weak: The view to start from.
        policy: Changes a Pillow image.
        cutout: Side of the square as a share of the image's, its centre anywhere in the image; 0 for none.

    Reference: DeVries & Taylor, *Improved Regularization of Convolutional Neural Networks with Cutout*, 2017.
    """

    weak: View
    policy: Callable[[Any], Any] = field(default_factory=RandAugment)
    cutout: float = 0.5

    def __call__(self, image: Tensor) -> Tensor:
        """Draw one view."""
        picture = self.policy(to_picture(self.weak(image)))
        return to_tensor(_cut_out(picture, self.cutout) if self.cutout else picture)


def _cut_out(picture: Any, share: float) -> Any:
    width, height = picture.size
    side = round(share * min(height, width))
    row, column = (int(draw * length) for draw, length in zip(torch.rand(2).tolist(), (height, width), strict=True))
    top, left = max(0, row - side // 2), max(0, column - side // 2)
    bottom, right = min(height, row + side - side // 2), min(width, column + side - side // 2)
    picture.paste((GREY, GREY, GREY), (left, top, right, bottom))
    return picture


def view(
    name: str,
    size: int,
    *,
    digits: bool = False,
    policy: Policy = "randaugment",
    num_ops: int | None = None,
    magnitude: int | None = None,
    crop: Crop = "auto",
    cutout: float | None = None,
) -> View:
    """View of a name, with the usual settings for images of a size.

    Up to 96 pixels a view gets images of one size, and keeps it. Larger ones, and those for resized crops, may be of any
    size and shape: every view makes squares of them.

    Args:
        name: ``clean``, ``weak`` or ``strong``.
        size: Pixels of the view's shorter side: an eighth of it is the padding of the crop (4 at 32 pixels).
        digits: Whether the images are characters: these are moved less and never mirrored.
        policy: Of the strong view.
        num_ops: Operations of RandAugment, or of each chain of AugMix; the published number unless given.
        magnitude: Of RandAugment, 0 to 30, or the severity of AugMix, 1 to 10; the published one unless given.
        crop: ``padded`` moves the image by a few pixels, ``resized`` takes a random part of any size, as usual on
            ImageNet; ``auto`` takes the latter above 96 pixels.
        cutout: Side of the square cut out of the strong view, as a share of the image's; 0.5 unless given, but 0 with
            resized crops.

    Raises:
        ValueError: For an unknown name, or settings that the policy does not have.
    """
    resized = crop == "resized" or (crop == "auto" and size > SMALL)
    if name == "clean":
        return Centered(size) if resized or size > SMALL else clean
    if name == "weak":
        return _weak(size, digits, resized)
    if name == "strong":
        chosen = policy_of(policy, num_ops=num_ops, magnitude=magnitude, learned_on=_learned_on(size, digits))
        return Strong(_weak(size, digits, resized), chosen, _share(cutout, resized))
    close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
    meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
    raise ValueError(f"no view makes the branch {name!r}: one of {', '.join(NAMES)} is needed. {meant}")


def _weak(size: int, digits: bool, resized: bool) -> Weak | Resized:
    if resized:
        return Resized(size, flip=not digits)
    padding = max(1, size // (16 if digits else 8))
    return Weak(padding, flip=not digits, before=Centered(size) if size > SMALL else clean)


def _learned_on(size: int, digits: bool) -> LearnedOn:
    if digits:
        return "svhn"
    return "cifar10" if size <= SMALL else "imagenet"


def _share(cutout: float | None, resized: bool) -> float:
    if cutout is None:
        return 0.0 if resized else 0.5
    if not 0 <= cutout <= 1:
        raise ValueError(
            f"cutout={cutout} is no share of the image's side. A number from 0 to 1 is needed: try 0.5, or 0 for none."
        )
    return cutout
