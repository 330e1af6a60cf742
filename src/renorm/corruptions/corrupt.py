"""The corruptions by name, and images corrupted as their seeds say."""

import difflib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from renorm.corruptions.blur import defocus_blur, gaussian_blur, motion_blur, zoom_blur
from renorm.corruptions.digital import contrast, jpeg_compression, pixelate, saturate, to_bytes, to_float
from renorm.corruptions.elastic import elastic_transform
from renorm.corruptions.frost import frost
from renorm.corruptions.glass import glass_blur
from renorm.corruptions.noise import gaussian_noise, impulse_noise, shot_noise, speckle_noise
from renorm.corruptions.random import PerImage, integers
from renorm.corruptions.spatter import spatter
from renorm.corruptions.weather import brightness, fog, snow

SEVERITIES = (1, 2, 3, 4, 5)
SCALES = (32, 64, 224)
SMALLEST = 8  # pixels
PIECE = {"cpu": 2**19, "cuda": 2**26}  # values corrupted at a time: what stays in a CPU's cache, what fits a GPU

CORRUPTIONS: dict[str, Callable[..., Tensor]] = {  # in the published order
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
    "speckle_noise": speckle_noise,
    "gaussian_blur": gaussian_blur,
    "spatter": spatter,
    "saturate": saturate,
}
ON_BYTES = ("pixelate", "jpeg_compression")  # which keep bytes where they are given them
STANDARD, HELD_OUT = tuple(CORRUPTIONS)[:15], tuple(CORRUPTIONS)[15:]
GROUPS = {"standard": STANDARD, "held-out": HELD_OUT, "corruptions": STANDARD + HELD_OUT}


@torch.no_grad()
def corrupt(
    x: Tensor,
    name: str,
    severity: int,
    seeds: Iterable[int] | Tensor,
    scale: int | None = None,
    frost_dir: str | Path | None = None,
) -> Tensor:
    """Corrupt each image as its own seed says.

    Bytes come back as bytes, rounded to the nearest level; floating images keep every digit.

    Shape: ``(N, 3, H, W)``, kept, as is the dtype: floating in [0, 1], or uint8. H and W are at least 8.

    Args:
        x: Images, before normalization by mean and standard deviation.
        name: One of ``STANDARD`` or ``HELD_OUT``.
        severity: 1 to 5.
        seeds: One integer per image, for instance its index in the data.
        scale: Whose severity table: 32 (CIFAR-10-C), 64 (Tiny-ImageNet-C) or 224 (ImageNet-C) pixels; by default
            ``nearest_scale`` of the images' size.
        frost_dir: A folder of pictures of frost, used by ``frost`` instead of generated ones.

    Raises:
        ValueError: For an unknown name, severity or scale, or images of another shape, size, dtype or range.

    Example:
        >>> x = torch.rand(2, 3, 8, 8)
        >>> alone = corrupt(x[1:], "gaussian_noise", 3, seeds=[7])
        >>> torch.equal(alone, corrupt(x, "gaussian_noise", 3, seeds=[4, 7])[1:])
        True
    """
    seeds = integers(seeds)
    _check_choice(name, severity, scale)
    _check_images(x, seeds)
    scale = nearest_scale(*x.shape[-2:]) if scale is None else scale
    function = CORRUPTIONS[name]
    if name == "frost":
        function = partial(function, frost_dir=frost_dir)
    draw, out = PerImage(seeds, name, severity, device=x.device), torch.empty_like(x)
    size = max(1, PIECE.get(x.device.type, PIECE["cuda"]) // x[:1].numel()) if len(x) else 1
    for start in range(0, len(x), size):
        piece = slice(start, start + size)
        pixels = x[piece].contiguous() if x.dtype == torch.uint8 and name in ON_BYTES else to_float(x[piece])
        corrupted = function(pixels, severity, draw[piece], scale)
        out[piece] = to_bytes(corrupted) if x.dtype == torch.uint8 and name not in ON_BYTES else corrupted
    return out


def nearest_scale(height: int, width: int) -> int:
    """Whose severity table suits images of this size: 32, 64 or 224, the nearest in ratio to the shorter side.

    Example:
        >>> nearest_scale(96, 96), nearest_scale(500, 375)
        (64, 224)
    """
    side = min(height, width)
    return min(SCALES, key=lambda scale: max(scale / side, side / scale))


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
            f"no severity table for scale {scale!r}: there is one for 32, 64 and 224 pixels. "
            "Leave scale out to take the one nearest to the images."
        )


def _check_images(x: Tensor, seeds: list[int]) -> None:
    if x.ndim != 4 or x.shape[1] != 3:
        raise ValueError(
            f"images of shape {tuple(x.shape)}: (N, 3, H, W) is needed. Add the batch dimension with x[None], "
            "repeat a grey channel with x.expand(-1, 3, -1, -1), or drop an alpha channel with x[:, :3]."
        )
    if min(x.shape[-2:]) < SMALLEST:
        raise ValueError(
            f"images of {x.shape[-2]} x {x.shape[-1]} pixels: at least {SMALLEST} x {SMALLEST} is needed. "
            "Resize them first."
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
