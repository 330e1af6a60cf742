"""How a stream is treated, and what is known of it after some batches: values without a model."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from renorm.adapt.change import Change
from renorm.adapt.memory import Memory
from renorm.banks import source_weight

LATEST = 1000  # events that are kept
What = Literal["changed", "abstained", "resumed", "skipped", "foreign", "reset"]


class StreamEvent(NamedTuple):
    """Something that happened in a stream.

    Args:
        image: how many images had been seen, those of the batch included.
        what: ``changed`` (the images look different, the memory was emptied), ``abstained`` (back to the source),
            ``resumed`` (adapting again), ``skipped`` (a batch without usable numbers), ``foreign`` (the first batch of some that
            look prepared for another model, of which nothing is learnt), ``reset`` (by hand).
        size: of a change, in standard deviations of images.
        probability: of such a change by chance.
    """

    image: int
    what: What
    size: float | None = None
    probability: float | None = None


class Distance(NamedTuple):
    """How far a stream is from the source, in standard deviations of the source, and how far chance alone puts it."""

    value: float
    noise: float

    @property
    def within_noise(self) -> bool:
        """Whether chance explains it: without a shift it is larger than twice the noise in at most 5 % of cases."""
        return self.value <= 2 * self.noise


@dataclass(frozen=True)
class StreamSettings:
    """What :class:`renorm.Adapter` takes, checked."""

    prior: float | Literal["auto"]
    memory: float = 256
    block: int = 16
    false_alarms: float = 1e-3
    smallest: float = 0.2
    on_change: Literal["reset", "source"] = "reset"
    invalid: Literal["raise", "skip"] = "raise"
    foreign: Literal["keep", "adapt"] = "keep"

    def __post_init__(self) -> None:
        if self.prior != "auto":
            if isinstance(self.prior, str):
                raise ValueError(
                    f"prior={self.prior!r} was given. It is 'auto' or a number of images. Use one of these."
                )
            source_weight(self.prior, 1)
        _check(self.memory >= 2, f"memory={self.memory}", "a number of images, 2 or more", "256, or float('inf')")
        _check(self.block >= 4, f"block={self.block}", "a number of images, 4 or more", "16")
        _check(
            0 <= self.false_alarms < 1,
            f"false_alarms={self.false_alarms}",
            "a probability below 1",
            "1e-3, or 0 for no test",
        )
        _check(self.smallest >= 0, f"smallest={self.smallest}", "a size in standard deviations", "0.2")
        _check(
            self.on_change in ("reset", "source"),
            f"on_change={self.on_change!r}",
            "'reset' or 'source'",
            "one of these",
        )
        _check(self.invalid in ("raise", "skip"), f"invalid={self.invalid!r}", "'raise' or 'skip'", "one of these")
        _check(self.foreign in ("keep", "adapt"), f"foreign={self.foreign!r}", "'keep' or 'adapt'", "one of these")

    @property
    def fewest(self) -> int:
        """How many independent images a memory is worth at least, where it has as many, however alike they are.

        A net whose features are broken takes all images for one class, and under a prior of images could never be repaired
        without them. What moves by effects beyond noise needs only one: breaking is larger than images differ.
        """
        return 1 if self.prior == "auto" else self.block

    @property
    def decay(self) -> float:
        """The weight of an image when the next one has come: as many effective images as ``memory`` are known in the end."""
        return 1.0 if self.memory == math.inf else (self.memory - 1) / (self.memory + 1)


def _check(fine: bool, given: str, needed: str, remedy: str) -> None:
    if not fine:
        raise ValueError(f"{given} was given. It is {needed}. Use {remedy}.")


@dataclass(frozen=True, eq=False)
class State:
    """What a stream has left behind.

    Args:
        memory: of the blocks that are closed.
        block: of the images since, fewer than a block.
        weight: what the source keeps.
        samples: how many independent images the memory was worth when that was decided.
        alike: how much alike two images of the stream are; 0 where it is shuffled.
        abstaining: whether the source is used until a reset.
        positions: values per image and channel, by record.
        change: the last test.
    """

    memory: Memory = field(default_factory=Memory)
    block: Memory = field(default_factory=Memory)
    weight: float = 1.0
    samples: float = 0.0
    alike: float = 0.0
    abstaining: bool = False
    images: int = 0
    resets: int = 0
    positions: dict[str, int] = field(default_factory=dict)
    change: Change | None = None
    events: tuple[StreamEvent, ...] = ()

    def noted(self, *events: StreamEvent) -> State:
        """The state with more events; old ones are dropped."""
        return replace(self, events=(*self.events, *events)[-LATEST:])
