"""Random numbers that belong to an image, whatever batch, order, worker or device it meets."""

import hashlib
import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

CACHED = 2**18  # numbers hashed at a time on a CPU: the working set stays in its cache


def stable_seed(*key: int | str) -> int:
    """Hash a key to a seed of 63 bits, the same in every process and on every machine.

    Example:
        >>> stable_seed(0, "weak", 17)
        905360648257296563
    """
    text = "|".join(f"{type(part).__name__}:{part}" for part in key)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


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

    def __init__(self, seeds: Sequence[int], *key: int | str, device: torch.device | str = "cpu") -> None:
        seed = torch.tensor([(number + 2**63) % 2**64 - 2**63 for number in seeds], dtype=torch.int64)
        self.keys = _halves(_mix64(_mix64(seed) ^ stable_seed(*key))).to(device)
        self.drawn = 0

    def bits(self, shape: Sequence[int]) -> Tensor:
        """32 random bits each. Shape: int32 ``(N, *shape)``."""
        num = math.prod(shape)
        position = torch.arange(self.drawn, self.drawn + num, dtype=torch.int32, device=self.keys.device)
        self.drawn += num
        size = max(1, CACHED // max(1, num)) if position.device.type == "cpu" else len(self.keys)
        parts = [_hash(position, keys) for keys in self.keys.split(max(1, size))]
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).view(-1, *shape)

    def uniform(self, shape: Sequence[int], low: float = 0.0, high: float = 1.0) -> Tensor:
        """Numbers of a grid of 2^24 in ``[low, high)``. Shape: float32 ``(N, *shape)``."""
        unit = _top24(self.bits(shape)).to(torch.float32).mul_(2.0**-24)
        return unit if (low, high) == (0.0, 1.0) else unit.mul_(high - low).add_(low)

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers, at most 5.3 in size. Shape: float32 ``(N, *shape)``."""
        # Odd multiples of 2^-24 are exact in float32, symmetric, and never -1, 0 or 1.
        centred = _top24(self.bits(shape)).mul_(2).sub_(2**24 - 1).to(torch.float32).mul_(2.0**-24)
        return centred.erfinv_().mul_(math.sqrt(2))

    def integers(self, shape: Sequence[int], low: int, high: int) -> Tensor:
        """Integers in ``low .. high - 1``. Shape: int64 ``(N, *shape)``."""
        unsigned = self.bits(shape).to(torch.int64).bitwise_and_(0xFFFFFFFF)
        return unsigned.mul_(high - low).bitwise_right_shift_(32).add_(low)


def _top24(bits: Tensor) -> Tensor:
    return bits.bitwise_right_shift_(8).bitwise_and_(0xFFFFFF)


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


def _mix64(x: Tensor) -> Tensor:
    """Finalizer of SplitMix64 (Steele, Lea & Flood, 2014)."""
    x = x + _signed(0x9E3779B97F4A7C15, 64)
    x = (x ^ (x >> 30 & 2**34 - 1)) * _signed(0xBF58476D1CE4E5B9, 64)
    x = (x ^ (x >> 27 & 2**37 - 1)) * _signed(0x94D049BB133111EB, 64)
    return x ^ (x >> 31 & 2**33 - 1)


def _halves(x: Tensor) -> Tensor:
    # Subtracting 2^32 from the upper half of the range keeps the 32 bits and fits the signed type.
    low = x & 0xFFFFFFFF
    halves = torch.stack((low, x >> 32 & 0xFFFFFFFF), dim=1)
    return torch.where(halves >= 2**31, halves - 2**32, halves).to(torch.int32)


def _signed(constant: int, width: int = 32) -> int:
    return constant - 2**width if constant >= 2 ** (width - 1) else constant
