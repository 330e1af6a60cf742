"""What a stream remembers: moments of its images that fade with age, and how well they are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.functional import Moments
from renorm.routing import RowOrder


class Weights(NamedTuple):
    r"""Sums over the images that are remembered, the newest of weight 1; shared by all sites.

    Args:
        total: :math:`\sum w`.
        squares: :math:`\sum w^2`.
        pieces: :math:`\sum_j \sum_{i \in j} w_i^2 / \sum_{i \in j} w_i` over the blocks j of the stream.
        images: how many, each counted as one.
    """

    total: float = 0.0
    squares: float = 0.0
    pieces: float = 0.0
    images: int = 0

    @property
    def effective(self) -> float:
        r"""How many images of equal weight would know a mean as well, :math:`(\sum w)^2 / \sum w^2` (Kish, 1965)."""
        return self.total**2 / self.squares if self.squares else 0.0

    @property
    def crowding(self) -> float:
        """One over :attr:`effective`: the noise of a mean in units of one image's."""
        return self.squares / self.total**2

    @property
    def layout(self) -> float:
        """The noise of one block's mean that differences between blocks show, in the same units; 0 for a single block."""
        return max(self.pieces / self.total - self.crowding, 0.0)

    def aged(self, fade: float) -> Weights:
        """The sums after every weight was multiplied by a number."""
        return Weights(self.total * fade, self.squares * fade**2, self.pieces * fade, self.images)

    def joined(self, newer: Weights, *, one_block: bool = False) -> Weights:
        """The sums over both, as blocks of their own or as one."""
        total, squares = self.total + newer.total, self.squares + newer.squares
        pieces = squares / total if one_block and total else self.pieces + newer.pieces
        return Weights(total, squares, pieces, self.images + newer.images)

    def share_of(self, newer: Weights) -> float:
        """The newer images' share of the weight of both."""
        return newer.total / (self.total + newer.total)


class SiteRecord(NamedTuple):
    """Weighted averages over images at one site, float64, ``(C,)`` each.

    The biased variance of all values is ``within + spread``.

    Args:
        mean: of all values.
        within: mean over images of an image's variance.
        spread: variance of the images' means.
        scatter: variance of the blocks' means.
        wobble: variance over images of an image's mean square about the common mean.
    """

    mean: Tensor
    within: Tensor
    spread: Tensor
    scatter: Tensor
    wobble: Tensor


class Look(NamedTuple):
    """How images look at the first site, each described by D numbers; float64.

    Args:
        mean: of the descriptions, ``(D,)``.
        covariance: of the descriptions, biased, ``(D, D)``.
        scatter: covariance of the means of blocks, ``(D, D)``.
    """

    mean: Tensor
    covariance: Tensor
    scatter: Tensor


@dataclass(frozen=True, eq=False)
class Memory:
    """All that is remembered of some images: their weights, their look, and a record per site."""

    weights: Weights = field(default_factory=Weights)
    look: Look | None = None
    records: dict[str, SiteRecord] = field(default_factory=dict)


def pooled(memory: Memory, block: Memory) -> Memory:
    """What is known of all images: those of closed blocks, and those of the open one as one more block."""
    if not block.weights.images:
        return memory
    share = memory.weights.share_of(block.weights)
    records = {key: joined(memory.records.get(key), record, share) for key, record in block.records.items()}
    return Memory(memory.weights.joined(block.weights), None, records)


def weights_of(num_images: int, decay: float) -> Weights:
    """Weights of one batch, its last image the newest.

    Example:
        >>> weights_of(3, 0.5)
        Weights(total=1.75, squares=1.3125, pieces=0.75, images=3)
    """
    each = [decay**age for age in range(num_images)]
    total, squares = sum(each), sum(w * w for w in each)
    return Weights(total, squares, squares / total, num_images)


def fading(images: Tensor, decay: float) -> Tensor:
    """The images' shares of the weight, the last one the newest. Shape: ``(N, *)`` to ``(N, 1)``, float64."""
    age = torch.arange(len(images) - 1, -1, -1, dtype=torch.float64, device=images.device)
    w = decay**age
    return (w / w.sum())[:, None]


def record_of(images: Moments, decay: float, center: Tensor | None = None) -> SiteRecord:
    """The record of one batch from its images' moments, the last one the newest. Shape: ``(N, C)`` to ``(C,)``.

    Args:
        center: what squares are about: the common mean, as far as it is known; the batch's own by default.
    """
    mean, var = images.mean.double(), images.var.double()
    w = fading(mean, decay)
    average = (w * mean).sum(0)
    spread = (w * (mean - average).square()).sum(0)
    square = var + (mean - (average if center is None else center)).square()
    wobble = (w * (square - (w * square).sum(0)).square()).sum(0)
    return SiteRecord(average, (w * var).sum(0), spread, torch.zeros_like(average), wobble)


def joined(older: SiteRecord | None, newer: SiteRecord, share: float, *, one_block: bool = False) -> SiteRecord:
    r"""Two records pooled, the newer one having this share f of the weight.

    .. math:: \mu = \mu_a + f \delta, \qquad S = (1 - f) S_a + f S_b + f (1 - f) \delta^2

    Args:
        one_block: both belong to one block of the stream, so that their difference is no scatter of blocks.

    Reference: Chan, Golub & LeVeque, *Updating formulae and a pairwise algorithm for computing sample variances*, 1979.
    """
    if older is None:
        return newer
    apart = share * (1 - share)
    cross = apart * (newer.mean - older.mean).square()
    level = (newer.within + newer.spread) - (older.within + older.spread)
    mean, within, spread, scatter, wobble = (a + share * (b - a) for a, b in zip(older, newer, strict=True))
    scatter = scatter if one_block else scatter + cross
    return SiteRecord(mean, within, spread + cross, scatter, wobble + apart * level.square())


def variance(record: SiteRecord, weights: Weights, positions: int) -> Tensor | None:
    """The unbiased variance of all values, ``None`` where they are fewer than two. Shape: ``(C,)``.

    Args:
        positions: how many values an image has per channel.
    """
    values = weights.effective * positions
    if values < 2:
        return None
    return (record.within + record.spread) * (values / (values - 1))


def variation(record: SiteRecord, weights: Weights, unit: Tensor) -> tuple[Tensor, Tensor]:
    r"""What an image's mean varies by, averaged over channels, as images show it and as blocks of them do.

    .. math:: \frac{S}{1 - \sum w^2 / (\sum w)^2}, \qquad \frac{G}{p / \sum w - \sum w^2 / (\sum w)^2}

    with S the spread, G the scatter, p the pieces: the mean squares within and between groups of a one-way layout. Both
    expect the same where images are independent; the second is larger where neighbours are alike. The first is infinite for a
    single image, the second equals the first for a single block.

    Shape: ``(C,)`` to scalars; in units of ``unit``, a variance.
    """
    alone = 1 - weights.crowding
    images = (record.spread / unit).mean() / alone if alone > 1e-9 else torch.full_like(unit[0], torch.inf)
    return images, (record.scatter / unit).mean() / weights.layout if weights.layout > 1e-9 else images


def by_image(rows: Moments, num_images: int, order: RowOrder | None = None) -> Moments | None:
    """Moments of images from those of rows, of which every image has as many, in an order that was told; ``None`` where it is not
    known which rows an image has. Shape: ``(M, C)`` to ``(N, C)``.
    """
    n = len(rows.mean)
    if n == num_images:
        return rows
    order = "sample" if num_images == 1 else order  # all rows are of the only one
    if order is None or not n or n % num_images:
        return None
    mean, var = (by_sample(t, num_images, order) for t in (rows.mean, rows.var))
    middle = mean.mean(1)
    within = (var + (mean - middle[:, None]).square()).mean(1)
    return Moments(middle, within, rows.count * mean.shape[1])


def by_sample(rows: Tensor, num_samples: int, order: RowOrder) -> Tensor:
    """Rows by sample. Shape: ``(N * m, *)`` to ``(N, m, *)``."""
    if order == "sample":
        return rows.unflatten(0, (num_samples, -1))
    return rows.unflatten(0, (-1, num_samples)).transpose(0, 1)
