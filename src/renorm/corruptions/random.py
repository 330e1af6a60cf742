"""Random numbers that belong to an image, whatever batch, order, worker or device it meets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from copy import copy
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from renorm.seeds import stable_seed

CACHED = 2**18  # numbers hashed at a time on a CPU: the working set stays in its cache


def integers(seeds: Iterable[int] | Tensor) -> list[int]:
    """Seeds as plain integers."""
    return [int(seed) for seed in (seeds.tolist() if isinstance(seeds, Tensor) else seeds)]


class PerImage:
    """One random stream per image of a batch, the same on every device.

    The i-th number of an image is a hash of i and of the image's key, which is a hash of its seed and of what the draw
    is for. So a batch is drawn at once, in any order, without the state of a generator. Bits, integers and uniform
    numbers are equal on all devices; normal ones differ by the rounding of the device's inverse error function.

    Args:
        seeds: One integer per image.
        key: What the draw is for; another key gives independent numbers.
        device: Where the numbers are wanted.

    Example:
        >>> both, second = PerImage([3, 4], "fog", 2), PerImage([4], "fog", 2)
        >>> torch.equal(both.normal([3, 8, 8])[1:], second.normal([3, 8, 8]))
        True
    """

    def __init__(self, seeds: Iterable[int] | Tensor, *key: int | str, device: torch.device | str = "cpu") -> None:
        self.keys = torch.from_numpy(_keys(integers(seeds), stable_seed(*key))).to(device)
        self.drawn = 0

    def __getitem__(self, images: slice) -> PerImage:
        """The streams of some of the images, from their beginning."""
        part = copy(self)
        part.keys, part.drawn = self.keys[images], 0
        return part

    def bits(self, shape: Sequence[int]) -> Tensor:
        """32 random bits each. Shape: int32 ``(N, *shape)``."""
        num = math.prod(shape)
        position = _positions(self.drawn, num, self.keys.device)
        self.drawn += num
        size = max(1, CACHED // max(1, num)) if self.keys.device.type == "cpu" else max(1, len(self.keys))
        parts = [_hash(position, keys) for keys in self.keys.split(size)]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(-1, *shape)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers of a grid of 2^24 in ``[low, high)``. Shape: float32 ``(N, *shape)``."""
        unit = self.bits(shape).bitwise_and_(-256).to(torch.float32).mul_(2.0**-32).add_(0.5)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, at most 5.3 in size. Shape: float32 ``(N, *shape)``."""
        # Odd multiples of 2^-24 are exact in float32, symmetric, and never -1, 0 or 1.
        centred = self.bits(shape).bitwise_and_(-256).bitwise_or_(128).to(torch.float32).mul_(2.0**-31)
        return centred.erfinv_().mul_(math.sqrt(2))

    def integers(self, shape: Sequence[int], low: int, high: int) -> Tensor:
        """Integers in ``low .. high - 1``, at most 2^24 of them. Shape: int32 ``(N, *shape)``."""
        # The largest product may round up to the number of integers.
        steps = self.uniform(shape).mul_(high - low).to(torch.int32).clamp_(max=high - low - 1)
        return steps.add_(low) if low else steps


@lru_cache(maxsize=8)
def _positions(start: int, num: int, device: torch.device) -> Tensor:
    return torch.arange(start, start + num, dtype=torch.int32, device=device)


def _hash(position: Tensor, keys: Tensor) -> Tensor:
    """Bijective mixing of 32 bits (three multiplications), keyed by both halves. Shape: ``(M,), (n, 2) -> (n, M)``."""
    x = position + keys[:, :1]
    scratch = torch.empty_like(x)
    _fold(x, 17, scratch).mul_(_signed(0xED5AD4BB)).add_(keys[:, 1:])
    _fold(x, 11, scratch).mul_(_signed(0xAC4C1B51))
    _fold(x, 15, scratch).mul_(_signed(0x31848BAB))
    return _fold(x, 14, scratch)


def _fold(x: Tensor, shift: int, scratch: Tensor) -> Tensor:
    # The shift of a signed tensor repeats its sign; the mask makes it a shift of 32 plain bits.
    torch.bitwise_right_shift(x, shift, out=scratch)
    return x.bitwise_xor_(scratch.bitwise_and_(2 ** (32 - shift) - 1))


def _keys(seeds: list[int], purpose: int) -> np.ndarray:
    """Two keys of 32 bits for each seed. Shape: int32 ``(N, 2)``."""
    seed = np.array([number % 2**64 for number in seeds], dtype=np.uint64)
    mixed = _mix64(_mix64(seed) ^ np.uint64(purpose))
    return np.stack((mixed & np.uint64(2**32 - 1), mixed >> np.uint64(32)), axis=1).astype(np.uint32).view(np.int32)


def _mix64(x: np.ndarray) -> np.ndarray:
    """Finalizer of SplitMix64 (Steele, Lea & Flood, 2014)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _signed(constant: int) -> int:
    return constant - 2**32 if constant >= 2**31 else constant
