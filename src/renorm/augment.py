"""Views of a training image: ``clean``, ``weak`` and ``strong``.

A view takes one uint8 image and draws from torch's global CPU generator, as torchvision's transforms do.
:func:`seeded` makes the result a function of a key alone and gives the generator back, so that neither workers nor
order matter.
"""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.corruptions.draw import stable_seed
from renorm.extras import require

View = Callable[[Tensor], Tensor]
Policy = Literal["randaugment", "trivialaugment"]

NAMES = ("clean", "weak", "strong")
GREY = 128  # of 255: what rotated, sheared and cut-out pixels become


def clean(image: Tensor) -> Tensor:
    """Give the image as it is."""
    return image


@dataclass(frozen=True)
class Weak:
    """Random crop after padding with black, then perhaps a horizontal flip. Shape: ``(3, H, W)``, kept.

    Args:
        padding: Pixels on every side.
        flip: Whether half of the images are mirrored; digits must not be.
    """

    padding: int
    flip: bool = True

    def __call__(self, image: Tensor) -> Tensor:
        """Draw one view."""
        top, left, mirrored = torch.randint(0, 2 * (2 * self.padding + 1), (3,)).tolist()
        top, left, mirrored = top // 2, left // 2, mirrored % 2
        height, width = image.shape[-2:]
        padded = F.pad(image, (self.padding,) * 4)[..., top : top + height, left : left + width]
        return padded.flip(-1) if self.flip and mirrored else padded


@dataclass(frozen=True)
class Strong:
    """The weak view, a random policy of torchvision on top, and a square cut out. Shape: ``(3, H, W)``, kept.

    Args:
        weak: The view to start from.
        policy: ``randaugment`` (``num_ops`` operations of one magnitude) or ``trivialaugment`` (one, any magnitude).
        num_ops: Operations per image of RandAugment.
        magnitude: Of RandAugment, 0 to 30.
        cutout: Side of the square as a share of the image's, its centre anywhere in the image; 0 for none.

    Reference: Cubuk et al., *RandAugment*, 2020; Mueller & Hutter, *TrivialAugment*, 2021; DeVries & Taylor, *Cutout*,
    2017.
    """

    weak: Weak
    policy: Policy = "randaugment"
    num_ops: int = 2
    magnitude: int = 9
    cutout: float = 0.5

    @cached_property
    def transform(self) -> View:
        """The policy as torchvision has it."""
        v2 = require("torchvision.transforms.v2")
        if self.policy == "trivialaugment":
            return v2.TrivialAugmentWide(fill=GREY)
        return v2.RandAugment(self.num_ops, self.magnitude, fill=GREY)

    def __call__(self, image: Tensor) -> Tensor:
        """Draw one view."""
        return _cut_out(self.transform(self.weak(image)), self.cutout)


def view(
    name: str,
    size: int,
    *,
    digits: bool = False,
    policy: Policy = "randaugment",
    num_ops: int = 2,
    magnitude: int = 9,
) -> View:
    """View of a name, with the usual settings for images of a size.

    Args:
        name: ``clean``, ``weak`` or ``strong``.
        size: Pixels of the image's shorter side: an eighth of it is the padding of the crop (4 at 32 pixels).
        digits: Whether the images are characters: these are moved less and never mirrored.
        policy: Of the strong view.
        num_ops: Of RandAugment.
        magnitude: Of RandAugment.

    Raises:
        ValueError: For an unknown name.
    """
    weak = Weak(max(1, size // 16), flip=False) if digits else Weak(max(1, size // 8))
    if name == "clean":
        return clean
    if name == "weak":
        return weak
    if name == "strong":
        return Strong(weak, policy, num_ops, magnitude)
    close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.4)
    meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
    raise ValueError(f"no view makes the branch {name!r}: one of {', '.join(NAMES)} is needed. {meant}")


def seeded(view: View, image: Tensor, *key: int | str) -> Tensor:
    """Apply a view with random numbers that depend on the key only, for instance (seed, epoch, index, name).

    Example:
        >>> image = torch.arange(192, dtype=torch.uint8).reshape(3, 8, 8)
        >>> torch.equal(seeded(Weak(2), image, 0, 5), seeded(Weak(2), image, 0, 5))
        True
    """
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(stable_seed(*key))
    try:
        return view(image)
    finally:
        generator.set_state(state)


def seeded_batch(view: View, images: Tensor, keys: Sequence[tuple[int | str, ...]]) -> Tensor:
    """Apply a view to each image of a batch under its own key. Shape: ``(N, 3, H, W)``, kept."""
    return torch.stack([seeded(view, image, *key) for image, key in zip(images, keys, strict=True)])


def _cut_out(image: Tensor, share: float) -> Tensor:
    height, width = image.shape[-2:]
    side = round(share * min(height, width))
    row, column = int(torch.randint(height, ())), int(torch.randint(width, ()))
    top, left = max(0, row - side // 2), max(0, column - side // 2)
    image = image.clone()
    image[..., top : max(0, row + side - side // 2), left : max(0, column + side - side // 2)] = GREY
    return image
