"""Training data as views: each example once per branch, in an order that only the seed and the epoch decide."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from renorm.augment import View, seeded
from renorm.corruptions.draw import stable_seed
from renorm.data import Images

Key = tuple[int, int]  # epoch, index of the example


class ViewedImages(Dataset[tuple[Tensor, int]]):
    """Item (epoch, index) is that example's views of that epoch, uint8 ``(K, 3, H, W)``, and its label."""

    def __init__(self, images: Images, views: Mapping[str, View], seed: int) -> None:
        self.images, self.views, self.seed = images.whole(), dict(views), seed

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: Key) -> tuple[Tensor, int]:
        epoch, index = key
        image, label = self.images[index]
        views = [seeded(view, image, self.seed, epoch, index, name) for name, view in self.views.items()]
        return torch.stack(views), label


@dataclass(frozen=True)
class Order:
    """Batches of (epoch, index) for one epoch, from the batch numbered ``first`` on; the last, short one is left out."""

    num_examples: int
    batch: int
    seed: int
    epoch: int
    first: int = 0

    def __iter__(self) -> Iterator[list[Key]]:
        generator = torch.Generator().manual_seed(stable_seed(self.seed, "order", self.epoch))
        order = torch.randperm(self.num_examples, generator=generator).tolist()
        for start in range(self.first * self.batch, self.num_examples - self.batch + 1, self.batch):
            yield [(self.epoch, index) for index in order[start : start + self.batch]]

    def __len__(self) -> int:
        return self.num_examples // self.batch - self.first


def loader(data: ViewedImages, order: Order, num_workers: int = 0) -> Iterable[tuple[Tensor, Tensor]]:
    """Batches of ``(N, K, 3, H, W)`` and labels, without touching torch's global random state."""
    loaded: Any = DataLoader(
        data,
        batch_sampler=order,
        num_workers=num_workers,
        generator=torch.Generator(),
        pin_memory=torch.cuda.is_available(),
    )
    return loaded
