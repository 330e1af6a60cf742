"""One batch of a stream: what each site adds to the memory, and what it is to normalize by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from renorm.adapt.change import Change, change, joined_looks, look_of
from renorm.adapt.evidence import Evidence, auto_weight
from renorm.adapt.excess import Estimate, moved
from renorm.adapt.memory import (
    Memory,
    SiteRecord,
    Weights,
    by_image,
    joined,
    record_of,
    variance,
    variation,
    weights_of,
)
from renorm.adapt.reference import Reference
from renorm.adapt.state import State, StreamEvent, StreamSettings, What
from renorm.banks import Counted, SiteTensors, Statistics, interpolate, source_weight
from renorm.functional import Moments, instance_moments
from renorm.functional import merge as merge_moments
from renorm.routing import RowOrder

# What a record is of: features behind adapted sites, the source's own features, or the classes images are taken for.
ADAPTED, SOURCE, CLASSES = "adapted:", "source:", "classes:"
ALIKE = 3.0  # standard errors by which classes of a shuffled stream may gather by chance


class Source(NamedTuple):
    """What a site has without the stream: its statistics, and the number its norm adds to a variance."""

    mean: Tensor
    var: Tensor
    eps: float

    @property
    def unit(self) -> Tensor:
        """What squared distances of means are counted in."""
        return self.var.double() + self.eps


class BrokenImagesError(ValueError):
    """Images, or features of them, that hold NaN or infinity."""

    def __init__(self, site: str) -> None:
        super().__init__(
            f"the images' features at site {site!r} hold NaN or infinity. A memory that takes them in is lost. Check the camera "
            f"or the normalization, or let such batches pass by invalid='skip'. Nothing was changed."
        )


class StreamStep:
    """What one batch makes of a state. The state itself stays as it is, so a step that fails has no effect."""

    def __init__(
        self,
        state: State,
        settings: StreamSettings,
        source: Mapping[str, Source],
        images: Counted,
        reference: Reference | None = None,
        apart: tuple[str, ...] = (),
    ) -> None:
        self.state, self.settings, self.source = state, settings, source
        self.num_images, self.apart = images.samples, apart
        self.order: RowOrder | None = images.order
        num_images = images.samples
        self.reference = reference
        batch, fade = weights_of(num_images, settings.decay), settings.decay**num_images
        self.memory = replace(state.memory, weights=state.memory.weights.aged(fade))
        self.before = state.block.weights.aged(fade)
        self.share = self.before.share_of(batch)
        self.block = Memory(self.before.joined(batch, one_block=True))
        self.whole = Memory()
        self.seen: dict[str, Moments] = {}
        self.positions: dict[str, int] = {}
        self.change: Change | None = None
        self.changed = False
        self.weight: float | None = None
        self.samples = 0.0

    def look(self, name: str, site: SiteTensors, x: Tensor) -> None:
        """Observe a site that normalizes by the source."""
        images = self._images(name, x)
        if images is not None:
            self._record(SOURCE, name, images)

    def reached(self, kind: str) -> list[str]:
        """The sites that a forward of a kind has come to."""
        return [key.removeprefix(kind) for key in self.seen if key.startswith(kind)]

    def install(self, name: str, site: SiteTensors, x: Tensor) -> None:
        """Observe a site behind adapted ones, and give it what it is to normalize by."""
        images = self._images(name, x)
        if images is None:
            return
        record = self._record(ADAPTED, name, images)
        if self.weight is None:
            self.weight = self._decided()
        source = self.source[name]
        kept = Kept(self.settings.prior == "auto", self.weight, self.samples)
        blend = blended(source, record, self.whole.weights, self.positions[ADAPTED + name], kept)
        site.mean.copy_(blend.mean)
        site.var.copy_(blend.var)

    def read(self, output: Any) -> None:
        """Remember what classes the images were taken for, where the output is a table of their scores, ``(N, K)``."""
        if (
            isinstance(output, Tensor)
            and output.ndim == 2
            and output.is_floating_point()
            and len(output) == self.num_images
        ):
            taken = torch.nn.functional.one_hot(output.argmax(1), output.shape[1]).double()
            self._remember(CLASSES, Moments(taken, torch.zeros_like(taken), 1))

    def _images(self, name: str, x: Tensor) -> Moments | None:
        """Moments of the images at a site; none where it is not known which rows are of which, and the site keeps the source."""
        images = None if name in self.apart else by_image(instance_moments(x.detach()), self.num_images, self.order)
        if images is None and name not in self.apart:
            self.apart = (*self.apart, name)
        return images

    def _record(self, kind: str, name: str, images: Moments) -> SiteRecord:
        if self.block.look is None:
            self._compare(name, images)
        key = kind + name
        if key in self.seen:  # a norm that is used twice in a forward
            images = merge_moments(self.seen[key], images)
        self.seen[key], self.positions[key] = images, int(images.count)
        return self._remember(key, images)

    def _remember(self, key: str, images: Moments) -> SiteRecord:
        older, open_block = self.memory.records.get(key), self.state.block.records.get(key)
        known = open_block if older is None else older
        batch = record_of(images, self.settings.decay, None if known is None else known.mean)
        block = joined(open_block, batch, self.share, one_block=True)
        self.block.records[key] = block
        self.whole.records[key] = joined(older, block, self.memory.weights.share_of(self.block.weights))
        return self.whole.records[key]

    def _compare(self, name: str, images: Moments) -> None:
        """At the first site, before anything else: do the images of a full block look like those remembered?"""
        batch = look_of(images, self.source[name].var, self.settings.decay)
        if not batch.covariance.isfinite().all():
            raise BrokenImagesError(name)
        look = joined_looks(self.state.block.look, batch, self.share, one_block=True)
        self.block = replace(self.block, look=look)
        if self.full and self.memory.weights.images >= self.settings.block:
            assert self.memory.look is not None
            self.change = change(self.memory.look, self.memory.weights, look, self.block.weights)
            alarm = self.change.probability < self.settings.false_alarms
            self.changed = alarm and self.change.size >= self.settings.smallest
        if self.changed:
            self.memory = Memory()
        share = self.memory.weights.share_of(self.block.weights)
        whole = self.memory.weights.joined(self.block.weights)
        self.whole = Memory(whole, joined_looks(self.memory.look, look, share))

    @property
    def full(self) -> bool:
        """Whether the open block has enough images to be compared and closed."""
        return self.block.weights.images >= self.settings.block

    @property
    def abstaining(self) -> bool:
        """Whether the source is used whatever the images say."""
        return self.state.abstaining or (self.changed and self.settings.on_change == "source")

    def _decided(self) -> float:
        """The source's weight, from everything known before a site is adapted."""
        if self.abstaining:
            return 1.0
        samples = self.samples = worth(self.whole.weights.effective, self.state.alike, self.settings.fewest)
        if self.settings.prior != "auto":
            return source_weight(self.settings.prior, samples)
        self._check_finite()
        found = looked(self.whole, self.source, samples)
        beyond = found if self.reference is None else self.reference.exceeded(found)
        return auto_weight(beyond.gap, beyond.noise, beyond.samples)

    def result(self) -> State:
        """The state after the batch, once every site was reached.

        Raises:
            BrokenImagesError: numbers that are not finite, at whatever site.
        """
        self._check_finite()
        assert self.weight is not None
        memory, block = (self.whole, Memory()) if self.full else (self.memory, self.block)
        images = self.state.images + self.num_images
        state = State(
            memory,
            block,
            weight=self.weight,
            samples=self.samples,
            alike=alikeness(self.whole, self.source),
            abstaining=self.abstaining,
            images=images,
            resets=self.state.resets + self.changed,
            positions=self.positions,
            change=self.change or self.state.change,
            events=self.state.events,
        )
        return state.noted(*self._events(images))

    def _check_finite(self) -> None:
        records = self.whole.records
        device = next(iter(records.values())).mean.device
        sums = torch.stack([(record.mean.sum() + record.within.sum()).to(device) for record in records.values()])
        for key, fine in zip(records, sums.isfinite().tolist(), strict=True):
            if not fine:
                raise BrokenImagesError(key.partition(":")[2])

    def _events(self, image: int) -> list[StreamEvent]:
        found = []
        if self.changed and self.change is not None:
            found.append(StreamEvent(image, "changed", *self.change))
        if (self.weight == 1) != (self.state.weight == 1):
            what: What = "abstained" if self.weight == 1 else "resumed"
            if self.state.images:
                found.append(StreamEvent(image, what))
        return found


class Kept(NamedTuple):
    """How much of the source stays.

    Args:
        beyond_noise: whether only what exceeds the noise moves, and noise counts for nothing.
        weight: the source's.
        samples: how many independent images a record is worth.
    """

    beyond_noise: bool
    weight: float
    samples: float


def blended(source: Source, record: SiteRecord, weights: Weights, positions: int, kept: Kept) -> Statistics:
    """The source moved towards a record, whose variance counts only where there is one."""
    measured, alone = variance(record, weights, positions), 1 - weights.crowding
    if kept.beyond_noise and measured is not None and alone > 1e-9:
        errors = (t / alone / kept.samples for t in (record.spread, record.wobble))
        return moved(Statistics(source.mean, source.var), Estimate(record.mean, measured, *errors), kept.weight)
    mean = interpolate(source.mean, record.mean.to(source.mean), kept.weight)
    var = source.var.clone() if measured is None else interpolate(source.var, measured.to(source.var), kept.weight)
    return Statistics(mean, var)


def evidence(memory: Memory, kind: str, source: Mapping[str, Source]) -> tuple[Tensor, Tensor, float]:
    """Per site how far the mean is from the source's and where chance puts it, ``(S,)``; and how many images stand for one.

    Chance is counted in blocks in place of images where blocks vary more than independent images would.
    """
    rows = []
    for name, site in source.items():
        record = memory.records.get(kind + name)
        if record is not None:
            images, blocks = variation(record, memory.weights, site.unit)
            gap = ((record.mean - site.mean.double()).square() / site.unit).mean()
            rows.append(torch.stack([gap, images, blocks]))
    gap, images, blocks = torch.stack([row.to(rows[0].device) for row in rows]).cpu().unbind(1)
    apart = float(images.mean())
    crowd = max(1.0, float(blocks.mean()) / apart) if 0 < apart < math.inf else 1.0
    return gap, torch.maximum(images, blocks) * memory.weights.crowding, crowd


def looked(memory: Memory, source: Mapping[str, Source], samples: float) -> Evidence:
    """What the source's own features show, of so many independent images."""
    gap, noise, _ = evidence(memory, SOURCE, source)
    return Evidence(
        tuple(name for name in source if SOURCE + name in memory.records), gap, noise, max(1, round(samples))
    )


def alikeness(memory: Memory, source: Mapping[str, Source]) -> float:
    r"""How much alike two images of a stream are, the larger of two estimates; 0 for a shuffled stream.

    By the features: n images of which c stand for one, as the means of blocks vary c times as much as those of independent
    images would, :math:`(c - 1) / n`. By the classes that K scores take images for, as differences between classes are no
    shift: how often two are of one class, beyond three standard errors of chance :math:`q = 1/K`,

    .. math:: \frac{\sum_k p_k^2 - q - 3 \sqrt{2 q (1 - q)} / (n - 1)}{1 - q}

    It belongs to the stream, not to what its images look like: it outlasts a reset of the memory.
    """
    crowding = memory.weights.crowding
    by_features = (evidence(memory, ADAPTED, source)[2] - 1) * crowding
    classes = memory.records.get(CLASSES)
    if classes is None or crowding > 1 - 1e-9:
        return by_features
    pairs = float(classes.mean.square().sum() - crowding / (1 - crowding) * classes.spread.sum())  # of different images
    chance = 1 / len(classes.mean)
    error = math.sqrt(2 * chance * (1 - chance)) * crowding / (1 - crowding)
    return max(by_features, (pairs - chance - ALIKE * error) / (1 - chance))


def worth(effective: float, alike: float, fewest: int) -> float:
    r"""How many independent images so many are worth, :math:`1 / (1/n + a)`; no fewer than ``fewest``, where there are as many.

    A thousand images of one class are one draw of a class.
    """
    return max(1 / (1 / effective + alike), min(effective, fewest)) if effective else 0.0
