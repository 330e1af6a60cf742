"""Searching a cell in a supernet: a mixture whose weights learn beside the network, or one path at a time.

Reference: Liu, Simonyan & Yang, *DARTS: Differentiable Architecture Search*, ICLR 2019; Guo et al., *Single Path One-Shot Neural
Architecture Search with Uniform Sampling*, ECCV 2020; Gong, Chen, Chen & Wang, *Sandwich batch normalization*, WACV 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.data import Images, seeded, view
from renorm.models import Cell, Classifier, Supernet
from renorm.recipes.paths import described
from renorm.recipes.search.ahead import second_order
from renorm.recipes.search.config import Config
from renorm.recipes.search.mixture import mixture_numbers, predicted
from renorm.recipes.search.opened import SUPERNET, images_of, supernet_of, table_of
from renorm.recipes.search.together import together_
from renorm.seeds import stable_seed
from renorm.train import Key, Order, Plan, Recipe, check_finite, half_cosine, join

WEIGHTS, MIXTURE = "weights", "mixture"


class SearchBatch(NamedTuple):
    """Images of both halves, uint8 ``(N, 3, H, W)``, and their labels; the second half's only where a mixture trains."""

    images: Tensor
    labels: Tensor
    held: Tensor
    held_labels: Tensor
    total: int
    step: int


class CellSearch(Recipe):
    """One supernet; ``weights`` and, for a mixture, ``mixture`` have an optimizer each.

    Args:
        config: What to train.
        images: To train on, both halves; by default they and ``test`` are what the configuration names.
        test: That nothing is trained on.
        device: Where to train; by default on an accelerator if there is one.

    Raises:
        ValueError: If the images, their size or the table do not fit.
    """

    def __init__(
        self, config: Config, images: Images | None = None, test: Images | None = None, *, device: str | None = None
    ) -> None:
        config.check()
        self.config, self.processes, self.described = config, join(device), described(config)
        self.images = images_of(config, "train") if images is None else images
        self.test = images_of(config, "test") if test is None else test
        self.table = table_of(config.table, config.column, len(self.images.classes))
        _check_sides(self.images)
        self.first, self.second = halves(len(self.images), config.seed)
        if min(len(self.first), len(self.second)) < config.batch:
            raise ValueError(
                f"{len(self.images)} images were given, {len(self.second)} to a half. A step takes {config.batch} of each. "
                f"Lower --batch, or use more images."
            )
        if config.batch < self.processes.count:
            raise ValueError(
                f"--batch {config.batch} for {self.processes.count} processes: each needs an image of every step. Raise it, or "
                f"start fewer processes."
            )
        generator = torch.Generator().manual_seed(stable_seed(config.seed, "supernet"))
        torch.manual_seed(config.seed)
        self.net = supernet_of(config, len(self.images.classes), generator).to(self.processes.device)
        if self.processes.count > 1:
            together_(self.net)
        self.networks = {SUPERNET: self.net}
        self.optimizers = optimizers(self.net, config)
        self.plan = Plan(config.epochs, len(self.first) // config.batch, config.save_every, config.trackers)
        self.classifier = Classifier(self.net, self.images.mean, self.images.std)
        side = self.images[0][0].shape[-1]
        self.view = view("weak", side, digits=config.data == "digits")

    def rates(self, step: int) -> Mapping[str, float]:
        """Of the network half a cosine, the same within an epoch; of the mixture a constant."""
        config, epoch = self.config, step // self.plan.steps
        rate = half_cosine(epoch, config.rate, config.horizon or config.epochs, floor=config.floor)
        return {WEIGHTS: rate} | ({MIXTURE: config.mixture_rate} if config.mixes else {})

    def batches(self, epoch: int, first: int) -> Iterator[SearchBatch]:
        """This process's batches of an epoch, of both halves."""
        config, place = self.config, {"rank": self.processes.rank, "ranks": self.processes.count}
        mine = Order(len(self.first), config.batch, config.seed, epoch, first, **place)
        others = Order(len(self.second), config.batch, stable_seed(config.seed, "held"), epoch, first, **place)
        for share, held in zip(mine, others, strict=False):  # halves may differ by one image
            images, labels = self._viewed(self.first, share.keys)
            step = epoch * self.plan.steps + share.place[1]
            beside = self._viewed(self.second, held.keys) if config.mixes else (images[:0], labels[:0])
            yield SearchBatch(images, labels, *beside, share.total, step)

    def _viewed(self, half: Tensor, keys: Sequence[Key]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.batch(half[[index for _, index in keys]])
        key = self.config.seed, "view"
        places = zip(pixels, keys, strict=True)
        shown = [seeded(self.view, image, *key, epoch, int(half[i])) for image, (epoch, i) in places]
        return torch.stack(shown), labels

    def step(self, batch: SearchBatch) -> dict[str, float]:
        """One of the network's weights, then one of the mixture's; all forwards of it have the same draw or path."""
        path, seen = self.path(batch.step), self._given(batch.images, batch.labels)
        loss = self._loss(path, seen, batch.total)
        total = self._everywhere([loss.detach().clone()])[0]
        check_finite(float(total), self.optimizers[WEIGHTS].param_groups[0]["lr"])
        self._descend(WEIGHTS, list(self.net.weights()), loss, self.config.clip)
        numbers = {"loss": float(total)}
        if self.config.mixes:
            numbers["loss/held"] = self._mix(seen, self._given(batch.held, batch.held_labels), path, batch.total)
        return numbers

    def _given(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self._normalized(images), labels.to(self.processes.device)

    def _loss(self, path: Any, pair: tuple[Tensor, Tensor], total: int) -> Tensor:
        """This process's share of a loss, such that the mean over processes is the mean over all images."""
        share = len(pair[1]) * self.processes.count / total
        loss = F.cross_entropy(self.net(pair[0], path), pair[1])
        return loss if share == 1 else loss * share

    def path(self, step: int) -> Cell | Tensor:
        """The cell of a step, or the draw of its mixture."""
        generator = torch.Generator().manual_seed(stable_seed(self.config.seed, "path", step))
        return self.net.draw(generator) if self.config.mixes else Cell.uniform(generator)

    def _mix(self, seen: tuple[Tensor, Tensor], held: tuple[Tensor, Tensor], path: Any, total: int) -> float:
        """A step of the mixture by images that the network's weights are not trained on; their loss."""
        if self.config.method == "darts":
            loss = self._loss(path, held, total)
            self._descend(MIXTURE, [self.net.alpha], loss)
            return float(self._everywhere([loss.detach().clone()])[0])
        optimizer = self.optimizers[WEIGHTS]
        losses = [partial(self._loss, path, pair, total) for pair in (seen, held)]
        loss, self.net.alpha.grad = second_order(self.net, losses[0], losses[1], optimizer, self._everywhere)
        self.optimizers[MIXTURE].step()
        return loss

    def _descend(self, name: str, parameters: list[nn.Parameter], loss: Tensor, clip: float | None = None) -> None:
        """A step by a loss whose gradient is of some parameters only, clipped by these alone."""
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        reached = [(p, g) for p, g in zip(parameters, found, strict=True) if g is not None]
        for p in parameters:
            p.grad = None
        for (p, _), gradient in zip(reached, self._everywhere([g for _, g in reached]), strict=True):
            p.grad = gradient
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        self.optimizers[name].step()

    def _everywhere(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """Means over all processes, by one collective; a path is the same everywhere, and so is what it does not reach."""
        if self.processes.count == 1:
            return list(tensors)
        whole = self.processes.sum(torch.cat([t.reshape(-1) for t in tensors])).div_(self.processes.count)
        parts = whole.split([t.numel() for t in tensors])
        return [part.view_as(t) for part, t in zip(parts, tensors, strict=True)]

    def _normalized(self, images: Tensor) -> Tensor:
        return self.classifier.normalize(images.to(self.processes.device))

    @property
    def finished(self) -> bool:
        """Whether the found cell has collapsed to edges without parameters, where that is to stop it."""
        config = self.config
        return config.stop_when_collapsed and self.net.found.free_edges >= config.collapsed_edges

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Of a mixture: how it predicts the test images, its weights, the found cell, and what the table says of that."""
        if not self.config.mixes:
            return {}
        self.net.eval()
        losses, hits = predicted(self.classifier, self.test)
        self.net.train()
        found = {"mixture/loss": float(losses.mean()), "test/mixture": float(hits.mean())}
        return found | mixture_numbers(self.net, self.table)

    def describe(self) -> dict[str, Any]:
        """The configuration, and what opening the network needs."""
        images = {"classes": self.images.classes, "mean": list(self.images.mean), "std": list(self.images.std)}
        return {**self.described, **images}


def _check_sides(images: Images) -> None:
    height, width = images[0][0].shape[-2:]
    if height % 4 or width % 4:
        raise ValueError(
            f"the images of {images.name} have {height} x {width} pixels: multiples of 4 are needed, as both sides are halved "
            f"twice. Add --size {4 * max(2, round(min(height, width) / 4))}."
        )


def halves(num_images: int, seed: int) -> tuple[Tensor, Tensor]:
    """Indices of two disjoint halves of so many images."""
    order = torch.randperm(num_images, generator=torch.Generator().manual_seed(stable_seed(seed, "halves")))
    return order[: (num_images + 1) // 2].sort().values, order[(num_images + 1) // 2 :].sort().values


def optimizers(net: Supernet, config: Config) -> dict[str, torch.optim.Optimizer]:
    """SGD of the network, whose norms and biases do not decay, and Adam of the mixture."""
    decaying = [p for p in net.weights() if p.ndim > 1]
    others = [p for p in net.weights() if p.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}]
    found: dict[str, torch.optim.Optimizer] = {
        WEIGHTS: torch.optim.SGD(groups, config.rate, config.momentum, nesterov=True)
    }
    if config.mixes:
        adam = torch.optim.Adam([net.alpha], config.mixture_rate, (0.5, 0.999), weight_decay=config.mixture_decay)
        found[MIXTURE] = adam
    return found
