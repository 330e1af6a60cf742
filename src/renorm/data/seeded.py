"""Views whose random numbers depend on a key alone, so that neither workers nor order matter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from renorm.seeds import stable_seed


def seeded(view: Callable[[Tensor], Tensor], image: Tensor, *key: int | str) -> Tensor:
    """Apply a view with random numbers that depend on the key only, for instance (seed, epoch, index, name).

    Example:
        >>> from renorm.data import Weak
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


def seeded_batch(
    view: Callable[[Tensor], Tensor], images: Iterable[Tensor], keys: Sequence[tuple[int | str, ...]]
) -> Tensor:
    """Apply a view to each image under its own key; images may differ in size where the view makes one size of them.

    Shape:
        n images ``(3, h, w)`` ``-> (n, 3, H, W)``.
    """
    return torch.stack([seeded(view, image, *key) for image, key in zip(images, keys, strict=True)])
