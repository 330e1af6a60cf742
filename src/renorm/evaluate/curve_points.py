"""Adapting to drawn images by several methods, and judging each on others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from renorm.banks import Choice
from renorm.data import Images
from renorm.evaluate.methods import Method
from renorm.evaluate.scores import score
from renorm.evaluate.table import check
from renorm.metrics import Interval, over_runs
from renorm.models import Classifier
from renorm.shifts import Shift

SIZES = (1, 4, 8, 16, 32, 64, 128)
SOURCE = "source"


@dataclass(frozen=True)
class CurvePlan:
    """Which images are adapted to and which judged: no image is both.

    Args:
        methods: What is compared, by name.
        sizes: Numbers of images to adapt to, rising.
        draws: How often these are drawn anew.
        judged: Indices of the images that accuracy is measured on, the same ones for all draws.
        pool: Indices of those that draws are taken from.
        seed: Of the division and the draws.
    """

    methods: dict[str, Method]
    sizes: tuple[int, ...]
    draws: int
    judged: Tensor
    pool: Tensor
    seed: int = 0

    def few(self, draw: int) -> Tensor:
        """Indices of the images of a draw; its smaller numbers of images are the first of them."""
        generator = torch.Generator().manual_seed(self.seed + 1 + draw)
        return self.pool[torch.randperm(len(self.pool), generator=generator)[: self.sizes[-1]]]


class CurvePoint(NamedTuple):
    """What one draw gave for one method and number of images."""

    accuracy: float
    source_weight: float


Points = dict[str, list[CurvePoint]]
"""Of each method, the point of each number of images."""


def plan_curve(
    images: Images,
    methods: Sequence[Method],
    *,
    sizes: Sequence[int] = (),
    draws: int = 5,
    num_judged: int = 0,
    seed: int = 0,
) -> CurvePlan:
    """Divide labelled images into those that are judged, at most half of them, and those to adapt to.

    Args:
        images: All there are.
        methods: To compare; the source is always among them.
        sizes: Numbers of images to adapt to; by default 1, 4, 8, ..., 128 as far as there are images that are not judged.
        draws: How often.
        num_judged: How many to judge on; 0 for half of them.
        seed: Of the division and the draws.

    Raises:
        ValueError: No labels, too few images, or fewer than two draws, which have no spread.
    """
    named = {method.label: method for method in (Method.named(SOURCE), *methods)}
    half = len(images) // 2
    judged = min(num_judged or half, half)
    chosen = sorted(set(sizes)) or [size for size in SIZES if size <= len(images) - judged]
    check(images, {SOURCE: Choice()}, [Shift("clean")])
    if draws < 2 or num_judged < 0 or not judged or chosen[0] < 1 or chosen[-1] > len(images) - judged:
        raise ValueError(
            f"{draws} draws of up to {max(chosen, default=0)} images, judged on {judged} others, cannot be made of the "
            f"{len(images)} images in {images.name}: 2 or more draws of 1 or more images are needed, and half of all images may "
            f"be adapted to. Give more images, fewer --sizes, or more --draws."
        )
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
    return CurvePlan(named, tuple(chosen), draws, order[:judged].sort().values, order[judged:], seed)


def one_draw(
    classifier: Classifier,
    images: Images,
    shift: Shift,
    how: CurvePlan,
    draw: int,
    branch: str | None,
    step: Callable[[float], None],
) -> Points:
    """Adapt to the images of one draw under one shift, by every method and number of images, and judge each on the others.

    Args:
        classifier: The model, which is given back as it was.
        images: All of them.
        shift: What is done to both kinds of images; each image looks the same in all draws.
        how: Who is who.
        draw: Number of the draw.
        branch: Whose statistics to adapt.
        step: Told the share of the work that is done.
    """
    few = how.few(draw)
    x = classifier.normalize(shift(images.batch(few)[0], few, classifier.device))
    choices, made = {SOURCE: Choice(branch)}, {}
    for name, method in how.methods.items():
        for size in how.sizes:
            bank, weight = method.bank(classifier, x[:size], branch)
            cell = SOURCE if bank is None else f"{name} {size}"
            choices[cell] = Choice(branch, bank)
            made[name, size] = cell, weight

    def change(pixels: Tensor, indices: Tensor) -> Tensor:
        return shift(pixels, how.judged[indices], classifier.device)

    found = score(classifier, images.subset(how.judged), choices, change, step=step)
    accuracy = {cell: each.hits.double().mean().item() for cell, each in found.items()}
    return {
        name: [CurvePoint(accuracy[made[name, size][0]], made[name, size][1]) for size in how.sizes]
        for name in how.methods
    }


class CurveMean(NamedTuple):
    """One point of a line: the accuracy of each draw, and their mean with Student's 95 % interval."""

    accuracy: Interval
    by_draw: tuple[float, ...]
    source_weight: float


def averaged(draws: Sequence[Sequence[Points]], name: str, place: int) -> CurveMean:
    """A method at one number of images, over draws and shifts: the spread is that of draws, each the mean over the shifts.

    Args:
        draws: Of each shift, each draw's points.
        name: Of the method.
        place: Which number of images.
    """
    points = [[each[name][place] for each in shift] for shift in draws]
    means = torch.tensor([[point.accuracy for point in shift] for shift in points], dtype=torch.float64).mean(0)
    weights = [point.source_weight for shift in points for point in shift]
    return CurveMean(over_runs(means.tolist()), tuple(means.tolist()), sum(weights) / len(weights))
