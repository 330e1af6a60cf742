"""Common corruptions in five severities, with the published tables for 32 and 224 pixels.

The pixels of an image depend on its seed, the corruption and the severity only: not on the batch it comes in, the
order, the number of workers or the device.

Reference: Hendrycks & Dietterich, *Benchmarking Neural Network Robustness to Common Corruptions and Perturbations*,
ICLR 2019.
"""

import difflib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from renorm.corruptions.blur import gaussian_blur
from renorm.corruptions.digital import contrast, jpeg_compression
from renorm.corruptions.draw import PerImage, integers
from renorm.corruptions.noise import gaussian_noise

SEVERITIES = (1, 2, 3, 4, 5)
SCALES = (32, 224)
LARGEST_SMALL_IMAGE = 64  # pixels; larger ones use the tables for 224

CORRUPTIONS: dict[str, Callable[[Tensor, int, PerImage, int], Tensor]] = {
    "gaussian_noise": gaussian_noise,
    "gaussian_blur": gaussian_blur,
    "contrast": contrast,
    "jpeg_compression": jpeg_compression,
}


def corrupt(x: Tensor, name: str, severity: int, seeds: Iterable[int] | Tensor, scale: int | None = None) -> Tensor:
    """Corrupt each image as its own seed says.

    Shape: ``(N, 3, H, W)``, kept, as is the dtype: floating in [0, 1], or uint8.

    Args:
        x: Images, before normalization by mean and standard deviation.
        name: One of ``CORRUPTIONS``.
        severity: 1 to 5.
        seeds: One integer per image, for instance its index in the data.
        scale: Whose severity table: 32 (CIFAR-C) or 224 (ImageNet-C) pixels; by default the one nearer to the images.

    Raises:
        ValueError: For an unknown name, severity or scale, or images of another shape, dtype or range.

    Example:
        >>> x = torch.rand(2, 3, 8, 8)
        >>> alone = corrupt(x[1:], "gaussian_noise", 3, seeds=[7])
        >>> torch.equal(alone, corrupt(x, "gaussian_noise", 3, seeds=[4, 7])[1:])
        True
    """
    seeds = integers(seeds)
    _check_choice(name, severity, scale)
    _check_images(x, seeds)
    if scale is None:
        scale = 32 if max(x.shape[-2:]) <= LARGEST_SMALL_IMAGE else 224
    pixels = x.float() / 255 if x.dtype == torch.uint8 else x.float()
    corrupted = CORRUPTIONS[name](pixels, severity, PerImage(seeds, name, severity), scale)
    return (corrupted * 255).round().to(torch.uint8) if x.dtype == torch.uint8 else corrupted.to(x.dtype)


def _check_choice(name: str, severity: int, scale: int | None) -> None:
    if name not in CORRUPTIONS:
        close = difflib.get_close_matches(name, CORRUPTIONS, n=3, cutoff=0.4)
        meant = f"Did you mean {' or '.join(map(repr, close))}?" if close else "Choose one of them."
        raise ValueError(f"unknown corruption {name!r}: one of {', '.join(CORRUPTIONS)} is needed. {meant}")
    if severity not in SEVERITIES:
        raise ValueError(
            f"severity {severity!r} of {name}: 1 (mild) to 5 (strong) is needed. Pass one of {SEVERITIES}."
        )
    if scale not in (None, *SCALES):
        raise ValueError(
            f"no severity table for scale {scale!r}: there is one for 32 and one for 224 pixels. "
            "Leave scale out to take the one nearer to the images."
        )


def _check_images(x: Tensor, seeds: list[int]) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(
            f"images of shape {tuple(x.shape)}: (N, 3, H, W) is needed. Add the batch dimension with x[None], or "
            "repeat a grey channel with x.expand(-1, 3, -1, -1)."
        )
    if len(seeds) != len(x):
        raise ValueError(f"{len(seeds)} seeds for {len(x)} images: one each is needed. Pass the images' indices.")
    if x.dtype != torch.uint8 and not x.is_floating_point():
        raise ValueError(f"images of {x.dtype}: floating point in [0, 1] or uint8 is needed. Convert them.")
    if x.is_floating_point() and x.numel() and not (x.amin() >= 0 and x.amax() <= 1):
        raise ValueError(
            f"pixels from {x.amin():.3g} to {x.amax():.3g}: [0, 1] is needed. Corrupt before normalizing by mean and "
            "standard deviation, and divide 0..255 by 255."
        )
