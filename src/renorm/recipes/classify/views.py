"""Training images as views: each example once per branch."""

from collections.abc import Collection, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from renorm.data import Images, View, seeded
from renorm.train import Key, Keys, Order, Share


class ViewedImages(Dataset[tuple[Tensor, int]]):
    """Item (epoch, index) is that example's views of that epoch, uint8 ``(K, 3, H, W)``, and its label.

    Args:
        images: What most views show.
        views: By branch.
        seed: Of what they draw.
        stored: What those of some branches show in place of the images, in their order.
    """

    def __init__(
        self, images: Images, views: Mapping[str, View], seed: int, stored: Mapping[str, Images] | None = None
    ) -> None:
        self.images, self.views, self.seed = images.whole(), dict(views), seed
        self.stored = dict(stored or {})

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, index = key
        image, label = self.images.pixels[index], int(self.images.labels[index])  # a whole image is not copied first
        shown = {name: self.stored[name].pixels[index] if name in self.stored else image for name in self.views}
        views = [seeded(view, shown[name], self.seed, epoch, index, name) for name, view in self.views.items()]
        return torch.stack(views), label


class Batch(NamedTuple):
    """A :class:`Share` with its images: views uint8 ``(N, K, 3, H, W)`` and labels ``(N,)``."""

    views: Tensor
    labels: Tensor
    keys: list[Key]
    sizes: tuple[int, ...]
    total: int
    place: tuple[int, int]

    @property
    def parts(self) -> list[list[Key]]:
        """The keys of each forward."""
        ends = list(accumulate(self.sizes))
        return [self.keys[end - size : end] for end, size in zip(ends, self.sizes, strict=True)]


def loader(data: ViewedImages, shares: Collection[Share] | Order, num_workers: int = 0) -> Iterator[Batch]:
    """The images of shares, without touching torch's global random state."""
    loaded: Any = DataLoader(
        data,
        batch_sampler=Keys(shares),
        num_workers=num_workers,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )
    for (views, labels), share in zip(loaded, shares, strict=True):
        yield Batch(views, labels, *share)
