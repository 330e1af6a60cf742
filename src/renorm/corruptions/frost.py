"""Frost on the window in front of the camera, and the pictures of it, drawn by a program."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from renorm.corruptions.random import PerImage
from renorm.extras import require

# Published severity tables of Hendrycks & Dietterich, 2019, for images of 32, 64 and 224 pixels: weights of the image
# and of the frost.
FROST = {
    32: ((1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)),
    64: ((1, 0.3), (0.9, 0.4), (0.8, 0.45), (0.75, 0.5), (0.7, 0.55)),
    224: ((1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)),
}
SHRINKING = {32: 0.2, 64: 0.3, 224: 1.0}  # of the pictures of frost
SIDE = 512  # pixels; pictures continue at the opposite side
PICTURES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def frost(x: Tensor, severity: int, draw: PerImage, scale: int, frost_dir: str | Path | None = None) -> Tensor:
    """Add a random part of a picture of frost, of five generated ones or of the user's own.

    The five are drawn by a program, not photographs: ferns, flakes, needles and film as bright as real frost. The
    published code takes one of five photographs, which are not ours to give. A picture smaller than the images is
    enlarged.

    Shape: ``(N, 3, H, W)``, kept.

    Args:
        x: Images.
        severity: 1 to 5.
        draw: The images' random numbers.
        scale: Whose severity table: 32, 64 or 224.
        frost_dir: A folder of pictures of frost to use instead, each as likely as the others.

    Raises:
        ValueError: If the folder is missing or has no pictures.
    """
    kept, strength = FROST[scale][severity - 1]
    height, width = x.shape[-2:]
    pictures = _pictures(_files(frost_dir), scale, height, width, x.device)
    choice = draw.integers((), 0, len(pictures)).tolist()
    place = draw.uniform((2,)).tolist()
    frosted = x * kept
    for image, index, (down, across) in zip(frosted, choice, place, strict=True):
        picture = pictures[index]
        top, left = int(down * (picture.shape[1] - height)), int(across * (picture.shape[2] - width))
        part = picture[:, top : top + height, left : left + width].to(x.dtype)
        image.add_(part, alpha=strength / 255)
    return frosted.clamp_(0, 1)


def _files(folder: str | Path | None) -> tuple[tuple[Path, int], ...] | None:
    """Pictures in the folder by name, and when each was changed."""
    if folder is None:
        return None
    if not Path(folder).is_dir():
        raise ValueError(
            f"frost_dir={str(folder)!r} is not a folder: one with pictures of frost is needed. "
            "Correct the path, or leave frost_dir out to use generated frost."
        )
    files = sorted(file for file in Path(folder).iterdir() if file.suffix.lower() in PICTURES)
    if not files:
        raise ValueError(
            f"no pictures in frost_dir={str(folder)!r}: at least one file ending in {', '.join(PICTURES)} is needed. "
            "Put pictures of frost there, or leave frost_dir out to use generated frost."
        )
    return tuple((file, file.stat().st_mtime_ns) for file in files)


@lru_cache(maxsize=4)
def _pictures(
    files: tuple[tuple[Path, int], ...] | None, scale: int, height: int, width: int, device: torch.device
) -> list[Tensor]:
    """Pictures of frost of 8 bits, each ``(3, h, w)`` and at least of the given size."""
    pictures = list(windows()) if files is None else [_read(file) for file, _ in files]
    return [_resized(picture, SHRINKING[scale], height, width).to(device) for picture in pictures]


def _resized(picture: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Shrunk as the table says, but not below the size of the images; not smoothed, as in the reference."""
    lengths = list(zip((height, width), picture.shape[1:], strict=True))
    factor = max(factor, *(least / length for least, length in lengths))
    if factor == 1:
        return picture
    size = [max(least, int(length * factor)) for least, length in lengths]
    resized = functional.interpolate(picture[None].float(), size, mode="bilinear")[0]
    return resized.round_().to(torch.uint8)


def _read(file: Path) -> Tensor:
    pillow = require("PIL.Image")
    try:
        with pillow.open(file) as picture:
            pixels = torch.frombuffer(bytearray(picture.convert("RGB").tobytes()), dtype=torch.uint8)
            return pixels.view(picture.height, picture.width, 3).permute(2, 0, 1).contiguous()
    except OSError as error:
        raise ValueError(
            f"{file} cannot be read as a picture ({error}): pictures of frost are needed. Remove it from frost_dir or "
            "replace it."
        ) from error


@dataclass(frozen=True)
class Window:
    """How one window froze over.

    Mean and deviation are those of the finished picture: the means of red, green and blue, and the standard deviation
    over pixels, alike for the three.
    """

    mean: tuple[float, float, float]
    deviation: float
    num_leaves: int
    length: int  # pixels
    slenderness: float  # half of the width over the length
    together: int  # leaves that grow from one point
    film: float  # amplitude of the smooth film under the leaves, whose own is 1
    film_slope: float  # its spectrum falls with this power of the frequency


WINDOWS = (
    Window((0.31, 0.58, 0.65), 0.072, 260, 96, 0.05, 1, 0.6, 1.9),  # film with a few wrinkles
    Window((0.79, 0.81, 0.84), 0.086, 600, 100, 0.07, 2, 0.2, 1.4),  # needles
    Window((0.79, 0.81, 0.84), 0.086, 450, 120, 0.12, 3, 0.2, 1.4),  # broad needles
    Window((0.54, 0.60, 0.65), 0.112, 1400, 40, 0.35, 4, 0.3, 1.2),  # flakes
    Window((0.44, 0.48, 0.53), 0.170, 400, 104, 0.30, 6, 0.3, 1.5),  # ferns
)


@lru_cache(maxsize=1)
def windows() -> Tensor:
    """Five pictures of frost, of 8 bits as pictures are, so that no machine's rounding shows.

    The means and deviations in ``WINDOWS`` are like those of photographs of frost, from a thin film to dense needles.

    Shape: uint8 ``(5, 3, 512, 512)``.
    """
    with torch.device("cpu"):
        return torch.stack([_freeze(window, PerImage([i], "window")) for i, window in enumerate(WINDOWS)])


def _freeze(window: Window, draw: PerImage) -> Tensor:
    grain = 0.06 * draw.normal((SIDE, SIDE))[0].double()
    light = _standardized(_leaves(window, draw) + window.film * _film(draw, window.film_slope) + grain)
    tint = 0.12 * _film(draw, 1.9)
    channels = zip(window.mean, (light - tint, light, light + tint), strict=True)
    picture = torch.stack([mean + window.deviation * _standardized(channel) for mean, channel in channels])
    return (picture.clamp(0, 1) * 255).round().to(torch.uint8)


def _standardized(x: Tensor) -> Tensor:
    # Tails are bent, so that little is cut off at black and white.
    bent = torch.tanh((x - x.mean()) / (2.5 * x.std()))
    return (bent - bent.mean()) / bent.std()


def _film(draw: PerImage, slope: float) -> Tensor:
    """Noise of a spectrum that falls with the frequency, of mean 0 and deviation 1."""
    frequency = torch.fft.fftfreq(SIDE, dtype=torch.float64)
    gain = torch.hypot(frequency[:, None], frequency).clamp(min=2 / SIDE).pow(-slope)
    noise = torch.fft.ifft2(torch.fft.fft2(draw.normal((SIDE, SIDE))[0].double()) * gain).real
    return (noise - noise.mean()) / noise.std()


def _leaves(window: Window, draw: PerImage) -> Tensor:
    """Leaves painted over each other."""
    num = window.num_leaves
    groups = -(-num // window.together)
    member = torch.arange(num) % window.together
    group = torch.arange(num) // window.together
    root = draw.uniform((groups, 2), 0, SIDE)[0, group]
    heading = draw.uniform((groups,), 0, 2 * math.pi)[0, group] + member * 2 * math.pi / max(window.together, 2)
    heading = heading + 0.25 * draw.normal((num,))[0]
    length = window.length * draw.uniform((num,), 0.4, 1)[0]
    centre = (root + 0.5 * length[:, None] * torch.stack((heading.sin(), heading.cos()), 1)).long()
    canvas = torch.full((SIDE, SIDE), 0.3)
    box = torch.arange(-(window.length // 2), window.length // 2 + 1)
    for leaves in torch.arange(num).split(max(1, 2**17 // len(box) ** 2)):
        drawn = _leaf(box, heading[leaves], length[leaves], window.slenderness)
        for (down, across), leaf in zip(centre[leaves].tolist(), drawn, strict=True):
            place = ((down + box) % SIDE)[:, None], (across + box) % SIDE
            canvas[place] = torch.where(leaf > 0, leaf, canvas[place])
    return canvas


def _leaf(box: Tensor, heading: Tensor, length: Tensor, slenderness: float) -> Tensor:
    """A rib with branches at 60 degrees, each half lit as it lies; 0 around it. Shape: ``(n, len(box), len(box))``."""
    sine, cosine, length = (angle.view(-1, 1, 1) for angle in (heading.sin(), heading.cos(), length))
    along = (box * cosine + box[:, None] * sine) / length + 0.5
    side = (box[:, None] * cosine - box * sine) / length
    aside = side.abs()
    edge = slenderness * (1 - along) * (along / 0.12).clamp(0, 1)
    lit = 0.55 + 0.3 * torch.sign(side) * (cosine + sine) / math.sqrt(2)
    branches = torch.cos((along - aside / math.sqrt(3)) * length * (2 * math.pi / 5.5)).mul_(0.22).add_(0.78)
    rib = torch.exp(-(aside * length / 0.7).square())
    return torch.where((along > 0) & (aside < edge), torch.maximum(lit * branches, rib), 0)
