"""Adapting a model's statistics to a few unlabelled images."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property, partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn

from renorm.adapt.evidence import Evidence, evidence
from renorm.adapt.excess import Only, estimate, image_moments
from renorm.adapt.excess import moved as moved_by_excess
from renorm.adapt.preparation import Foreign, OnForeign, check_on_foreign, preparation
from renorm.adapt.reference import Reference, as_reference, count
from renorm.adapt.verdict import Verdict, judged
from renorm.banks import (
    Bank,
    Branch,
    Counted,
    Forward,
    Installation,
    Observer,
    Samples,
    SiteTensors,
    Statistics,
    call,
    check_all_finite,
    check_one_batch,
    counted,
    exclusive,
    interpolate,
    nothing,
    observed,
    of_other_kinds,
    read_elsewhere,
    resolve,
    site_tensors,
    source_weight,
    unreached,
    without,
)
from renorm.functional import Moments, all_merge, batch_moments, merge, unbiased

Auto = Literal["auto"]


class Adaptation(Installation):
    """What :func:`adapt_` did.

    Attributes:
        source_weight: the weight s the source statistics kept; under ``prior="auto"`` of what is beyond sampling noise.
        samples: how many images there were.
        only: which of the two moments moved, ``None`` for both.
        verdict: ``"home"``, ``"shifted"`` or ``"foreign"``; ``None`` under a given weight, where nothing was looked at.
        reason: the verdict in a sentence.
        foreign: how the images were prepared wrongly, if they were.
        evidence: what the weight was chosen by, under ``prior="auto"``; else ``None``.
        reference: what is usual, if a reference was given.
        unreached: sites that keep the source bit for bit, as the model's evaluation does not reach them, or as they saw
            a single value per channel, behind a global pooling of one image.
        single: those of them that saw a single value.
        apart: those of them whose rows are of unknown images, which by default keep the source.
        others: norms whose statistics are no mean and variance; they keep theirs.
        output: what the model returned for the images, equal to evaluating it on them now.
    """

    def __init__(
        self,
        model: nn.Module,
        branch: Branch,
        source_weight: float,
        samples: int,
        only: Only | None = None,
        evidence: Evidence | None = None,
    ) -> None:
        super().__init__(model, branch)
        self.source_weight, self.samples, self.evidence = source_weight, samples, evidence
        self.reference: Reference | None = None
        self.foreign: Foreign | None = None
        self.verdict: Verdict | None = None
        self.reason = ""
        self.only: Only | None = only
        self.output: Any = None
        self.others: tuple[str, ...] = ()
        self.apart: tuple[str, ...] = ()
        self._source: dict[str, Statistics] = {}
        self._installed: dict[str, Statistics] = {}

    @cached_property
    def distance(self) -> dict[str, float]:
        """How far each site moved, in standard deviations of the source; see :meth:`renorm.Bank.distance`."""
        return Bank(self._source).distance(Bank(self._installed, unreached=self.unreached))

    def __repr__(self) -> str:
        if not self._saved:
            return f"adaptation to {self.samples} images, undone"
        left = without(self.unreached, self.single, self.apart, self.others)
        if self.evidence is not None and self.source_weight == 1:
            return f"kept the source: what {self.samples} images show may be chance{left}"
        top = max(self.distance, key=self.distance.__getitem__)
        what = f"{self.only} only, " if self.only else ""
        return (
            f"adapted {len(self.distance)} sites to {self.samples} images{left}, "
            f"{what}source weight {self.source_weight:.3g}; "
            f"moved most: {top!r} by {self.distance[top]:.3g} sd"
        )


def adapt_(
    model: nn.Module,
    images: Any,
    prior: float | Auto | None = None,
    branch: Branch = None,
    *,
    weight: float | None = None,
    only: Only | None = None,
    reference: Any = None,
    foreign: OnForeign = "raise",
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
    samples: Samples = None,
    folded: str | None = None,
    strict: bool = False,
) -> Adaptation:
    r"""Move a model's statistics towards those of a few unlabelled images, as far as these show a shift.

    .. math:: \mu \leftarrow s \mu_{source} + (1 - s) \mu_{batch}, \qquad \sigma^2 \leftarrow s \sigma^2_{source} +
        (1 - s) \tfrac{m}{m - 1} \sigma^2_{batch}, \qquad s = \frac{\text{prior}}{\text{prior} + n}

    with n images and m values per channel. By default only what is beyond sampling noise counts: a channel moves by half or
    more of what its mean, and its variance, are farther from the source's than up to three standard errors
    (:func:`renorm.adapt.excess.moved`).
    Every site normalizes by exactly what it installs, so the forward's output equals evaluation afterwards. (A norm used several
    times is pooled over its uses, and one more forward makes the output.) Weights, modes and dropout are left alone. Sites that
    the model's evaluation does not reach keep the source bit for bit and are listed; so do those that see one value per channel,
    which has no variance, and by default those whose rows are of unknown images.

    Args:
        images: one batch, as the model takes it: a tensor, a tuple whose first entry is the input, or a dict of keywords.
        prior: how many images the source is worth: ``inf`` is the source bit for bit, 0 the batch alone. ``"auto"``, the
            default, moves by what is beyond noise, and keeps the source bit for bit where all that images show may be chance,
            which one more forward before tells: see :func:`renorm.adapt.evidence.auto_weight`.
        branch: whose statistics move: by default the active route's, else the only one.
        weight: the source weight s itself, from 0 to 1, however many images there are; in place of a prior.
        only: move the ``"mean"`` or the ``"variance"`` alone; the other stays the source's, bit for bit.
        reference: images of the normal condition, prepared just as ``images``, or a bank or :class:`renorm.Reference` that keeps
            how far these are. Then ``"auto"`` moves only where the images are farther.
        foreign: what to do with images that look prepared for another model (range, normalization, order of colours; see
            :func:`renorm.adapt.preparation.preparation`): ``"raise"``, or ``"adapt"`` all the same.
        group: ranks that hold the batch together; every one must call. ``None`` is no communication.
        forward: ``forward(model, images)`` for images of another form.
        samples: how many images there are. By default a tensor counts its rows, a list of images its entries, and all
            entries of a dict must have one length.
        folded: the order of rows where sites see several for each image, as in :func:`renorm.route`. Without it such sites
            keep the source under ``"auto"``.
        strict: refuse images that do not reach every site.

    Raises:
        ValueError: images that look prepared for another model; no image, one value per channel at all sites, numbers that are
            not finite, no site that was reached, a prior and a weight. The model is unchanged.
        RuntimeError: another thread measures the model or changes its statistics at the time.

    Reference: Schneider et al., *Improving robustness against common corruptions by covariate shift adaptation*, 2020;
    Benz et al., 2021, which is :func:`measure` of one batch and :func:`install_`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> adaptation = renorm.adapt_(model, torch.randn(32, 3, 5, 5), prior=64)
        >>> round(adaptation.source_weight, 3)
        0.667
        >>> adaptation.undo()
    """
    if samples is None:  # else the user knows what it is
        check_one_batch(images, "renorm.recalibrate_, which measures on them")
    branch = resolve(model, branch)
    targets = site_tensors(model, branch)
    _check_only(only)
    check_on_foreign(foreign)
    images = counted(images, samples, whole=forward is not None, folded=folded)
    with exclusive(model):
        n = count(model, images, group)
        automatic = weight is None and prior in (None, "auto")
        wrong = preparation(model, images, targets, branch, n, group=group, forward=forward)
        if wrong is not None and foreign == "raise":
            raise wrong.error()
        usual = as_reference(reference, model, branch, group=group, forward=forward, samples=samples, folded=folded)
        found = None
        if automatic or usual is not None:
            found = evidence(model, images, targets, branch, n, group=group, forward=forward)
            unreached(targets, found.sites)
        beyond = usual.exceeded(found) if found is not None and usual is not None else found
        chosen = _chosen_weight(prior, weight, n, beyond if automatic else None)
        report = Adaptation(model, branch, chosen, n, only, found if automatic else None)
        report.reference, report.foreign = usual, wrong
        report.verdict, report.reason = judged(wrong, found, usual)
        report.others = of_other_kinds(model)
        report._source = {name: Statistics(site.mean.clone(), site.var.clone()) for name, site in targets.items()}
        try:
            seen: dict[str, int] = {}
            with observed(model, targets, branch, _observer(report, group, seen, images)):
                report.output = call(model, images, forward)
            if max(seen.values(), default=1) > 1 or read_elsewhere(model, targets):  # before what is installed now
                with observed(model, {}, branch, nothing):
                    report.output = call(model, images, forward)
            report.single = tuple(name for name in seen if name not in {*report._installed, *report.apart})
            report.unreached = unreached(targets, report._installed, strict, report.single, report.apart)
            check_all_finite(report._installed)
        except BaseException:
            report.give_back()
            raise
    return report


def _observer(report: Adaptation, group: dist.ProcessGroup | None, uses: dict[str, int], batch: Counted) -> Observer:
    """What installs, before each forward of a site, the statistics it is to normalize by, if any, and counts its uses."""
    automatic = report.evidence is not None and report.samples > 1
    by = _by_excess(report, group, batch) if automatic else _by_weight(report, group)

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        installed = by(name, x)
        uses[name] = uses.get(name, 0) + 1
        if installed is None:
            return
        report._installed[name] = installed
        report.write(site.mean, installed.mean)
        report.write(site.var, installed.var)

    return observe


def _by_excess(
    report: Adaptation, group: dist.ProcessGroup | None, batch: Counted
) -> Callable[[str, Tensor], Statistics | None]:
    """A site's statistics by what its images show beyond noise; a norm used several times has the values of all its uses.

    Rows of unknown images tell nothing of noise.
    """
    seen: dict[str, Moments] = {}

    def by(name: str, x: Tensor) -> Statistics | None:
        images = image_moments(x, batch.samples, batch.order)
        if len(images.mean) != batch.samples and group is None:
            report.apart = tuple(dict.fromkeys((*report.apart, name)))
            return None
        seen[name] = merge(seen[name], images) if name in seen else images
        return moved_by_excess(report._source[name], estimate(seen[name], group), report.source_weight, report.only)

    return by


def _by_weight(report: Adaptation, group: dist.ProcessGroup | None) -> Callable[[str, Tensor], Statistics | None]:
    """A site's statistics by the source's weight alone; none of one value per channel, which has no variance."""
    seen: dict[str, Moments] = {}
    everyone = None if group is None else partial(all_merge, group=group)

    def by(name: str, x: Tensor) -> Statistics | None:
        batch = batch_moments(x)
        if everyone is not None:
            row = Moments(batch.mean[None], batch.var[None], torch.as_tensor(batch.count).reshape(1, 1))
            mean, var, count = everyone(row)
            batch = Moments(mean[0], var[0], torch.as_tensor(count)[0])
        if name in seen:
            batch = merge(seen[name], batch)
        seen[name] = batch
        if float(batch.count) < 2 and report.source_weight < 1 and report.only != "mean":
            return None
        return blended(report._source[name], batch, report.source_weight, report.only)

    return by


def blended(source: Statistics, batch: Moments, weight: float, only: Only | None = None) -> Statistics:
    """The source's statistics moved to a batch's, the source keeping ``weight``; with ``only``, one of the two moments."""
    mean, var = source.mean.clone(), source.var.clone()
    if only != "variance":
        mean = interpolate(mean, batch.mean.to(mean), weight)
    if only != "mean":
        var = interpolate(var, unbiased(batch).to(var), weight)
    return Statistics(mean, var)


def _chosen_weight(prior: float | Auto | None, weight: float | None, samples: int, found: Evidence | None) -> float:
    if found is not None:
        return found.weight
    if isinstance(prior, str) and prior != "auto":
        raise ValueError(f"prior={prior!r} was given. It is 'auto' or a number of images. Use one of these.")
    if weight is None:
        assert prior is not None
        assert prior != "auto"
        return source_weight(prior, samples)
    if prior is not None:
        raise ValueError(
            f"prior={prior} and weight={weight} were given. Each says how much the source keeps: a prior by the number of "
            f"images, a weight whatever their number. Pass one of them."
        )
    if not 0 <= weight <= 1:
        raise ValueError(
            f"weight={weight} was given. It is the share of the source, from 0 (the batch alone) to 1 (the source). "
            f"For a number of images use prior=."
        )
    return float(weight)


def _check_only(only: str | None) -> None:
    if only not in (None, "mean", "variance"):
        raise ValueError(
            f"only={only!r} was given. Statistics are a mean and a variance. Use 'mean', 'variance', or leave it out for both."
        )
