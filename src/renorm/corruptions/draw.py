"""Random numbers that belong to an image, whatever batch, order, worker or device it meets."""

import hashlib
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor


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
    """One random stream per image of a batch, drawn on the CPU in float32.

    Args:
        seeds: One integer per image.
        key: What the draw is for; another key gives independent numbers.
    """

    def __init__(self, seeds: Sequence[int], *key: int | str) -> None:
        self.generators = [torch.Generator().manual_seed(stable_seed(seed, *key)) for seed in seeds]

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Standard normal numbers of ``shape`` for each image. Shape: ``(N, *shape)``."""
        return torch.stack([torch.randn(tuple(shape), generator=g) for g in self.generators])
