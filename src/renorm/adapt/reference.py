"""How far images of the normal condition are from the source: what is usual, and no shift."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from renorm.adapt.evidence import Evidence, evidence
from renorm.banks import Bank, Branch, Forward, Samples, counted, num_samples, resolve, site_tensors

NEAR = 0.7  # of the nearest known shift: less far than that is nearer than all of them


@dataclass(frozen=True, eq=False)
class Reference:
    """How far unlabelled images of the normal condition are from the source at each site.

    Every real network's own images are somewhat away from its training statistics, as images are cut otherwise for training.
    Only what exceeds this distance is a shift.

    Args:
        home: their distances.
        known: how much farther the same images are under well-known shifts, by name, in standard deviations of the source.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> usual = Reference.of(model, torch.randn(32, 3, 5, 5))
        >>> usual.home.samples
        32
    """

    home: Evidence
    known: Mapping[str, float] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: nn.Module,
        images: Any,
        branch: Branch = None,
        *,
        shifted: Mapping[str, Any] | None = None,
        group: dist.ProcessGroup | None = None,
        forward: Forward | None = None,
    ) -> Reference:
        """Measure it, in one forward and one more for each known shift; the model stays as it is.

        Args:
            images: as the model takes them, prepared just as those that are adapted to later.
            shifted: the same images under known shifts, by name.
            group: ranks that hold each batch together.
        """
        branch = resolve(model, branch)
        targets = site_tensors(model, branch)

        def found(batch: Any) -> Evidence:
            batch = counted(batch, whole=forward is not None)
            return evidence(model, batch, targets, branch, count(model, batch, group), group=group, forward=forward)

        made = cls(found(images))
        known = {name: distance(made.exceeded(found(batch))) for name, batch in (shifted or {}).items()}
        return replace(made, known=known)

    def exceeded(self, found: Evidence) -> Evidence:
        r"""What images show beyond the reference: the gap :math:`\delta - (\delta_r - \nu_r)_+`, and the noise of both.

        Raises:
            ValueError: a site that the reference lacks.
        """
        index = {name: i for i, name in enumerate(self.home.sites)}
        if missing := [name for name in found.sites if name not in index]:
            raise ValueError(
                f"the reference has {len(index)} sites, and not {missing[0]!r}. It must be of the same model. Measure it again."
            )
        rows = torch.tensor([index[name] for name in found.sites])
        gap, noise = self.home.gap[rows].to(found.gap), self.home.noise[rows].to(found.noise)
        return replace(found, gap=found.gap - (gap - noise).clamp(min=0), noise=found.noise + noise)

    def in_words(self, size: float) -> str:
        """A distance beyond the reference as the nearest of the known shifts; empty where none is known."""
        far = {name: value for name, value in self.known.items() if value > 0}
        if not far or size <= 0:
            return ""
        name = min(far, key=lambda name: abs(math.log(far[name] / size)))
        return f"less far than {name}" if size < NEAR * min(far.values()) else f"about as far as {name}"

    def kept_in(self, bank: Bank) -> Bank:
        """A bank that keeps the reference in its file."""
        return replace(bank, reference=self.described())

    def described(self) -> dict[str, Any]:
        """The numbers, as a file keeps them."""
        gap, noise = self.home.gap.tolist(), self.home.noise.tolist()
        sites = {name: list(pair) for name, *pair in zip(self.home.sites, gap, noise, strict=True)}
        return {"sites": sites, "samples": self.home.samples, "known": dict(self.known)}

    @classmethod
    def read(cls, described: Mapping[str, Any]) -> Reference:
        """From :meth:`described`."""
        sites = described["sites"]
        gap, noise = (torch.tensor([pair[i] for pair in sites.values()]) for i in (0, 1))
        return cls(Evidence(tuple(sites), gap, noise, int(described["samples"])), dict(described["known"]))


def as_reference(
    given: Any,
    model: nn.Module,
    branch: Branch = None,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
    samples: Samples = None,
    folded: str | None = None,
) -> Reference | None:
    """A reference from what users pass: one, a bank that keeps one, or images.

    A number of ``samples`` is that of other images, a function tells that of these.

    Raises:
        ValueError: a bank without a reference, or a reference of a single image.
    """
    if given is None or isinstance(given, Reference):
        return given
    if not isinstance(given, Bank):
        batch = counted(given, samples if callable(samples) else None, whole=forward is not None, folded=folded)
        found = Reference.of(model, batch, branch, group=group, forward=forward)
        if found.home.samples < 2:
            raise ValueError(
                "a reference of one image was given. What is usual takes several to tell from chance. Pass 32 or more."
            )
        return found
    if given.reference is None:
        raise ValueError(
            f"{given!r} was given as the reference, and it keeps none. A bank has one if it was saved by an adaptation with "
            f"reference=. Pass images of the normal condition, or such a bank."
        )
    return Reference.read(given.reference)


def distance(found: Evidence) -> float:
    r"""How far images are beyond chance, :math:`\sqrt{\operatorname{median}_{sites} (\delta - \nu)_+}`."""
    if not len(found.gap) or not found.noise.isfinite().all():
        return 0.0
    return math.sqrt(max(float((found.gap - found.noise).median()), 0.0))


def times_chance(found: Evidence) -> float:
    """How many times as far as chance alone puts so many images, by the medians over sites; infinite without any chance."""
    gap, noise = float(found.gap.clamp(min=0).median()), float(found.noise.median())
    return math.sqrt(gap / noise) if noise > 0 else math.inf


def count(model: nn.Module, images: Any, group: dist.ProcessGroup | None) -> int:
    """How many images a batch has, over all ranks of a group.

    Raises:
        ValueError: none.
    """
    samples = num_samples(images)
    if group is not None:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        total = torch.tensor(samples, device=device)
        dist.all_reduce(total, group=group)
        samples = int(total)
    if samples == 0:
        raise ValueError("no image was given. Adapting needs at least one. Check the folder or the loader.")
    return samples
