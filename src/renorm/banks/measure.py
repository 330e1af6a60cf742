"""Population statistics of a model over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from renorm.banks.bank import Bank
from renorm.banks.counting import Counted, Samples, each_counted
from renorm.banks.hold import exclusive
from renorm.banks.install import Installation, install_
from renorm.banks.observe import Forward, call, observed, unreached
from renorm.banks.sites import Branch, SiteTensors, named_sites, resolve, site_tensors
from renorm.banks.statistics import Statistics, check_finite
from renorm.banks.transfer import transfer
from renorm.functional import Moments, batch_moments, merge, unbiased
from renorm.routing import Spec
from renorm.routing import route as open_route

Group = dist.ProcessGroup | None
Routing = Callable[[Any], Spec]


def measure(
    model: nn.Module,
    batches: Iterable[Any],
    branch: Branch = None,
    *,
    passes: int = 1,
    route: Routing | None = None,
    group: Group = None,
    forward: Forward | None = None,
    samples: Samples = None,
    data: str | None = None,
    strict: bool = False,
) -> Bank:
    """The statistics of every site over data, pooled exactly; the model is left as it was.

    Sites normalize by the current batch, as in training, with dropout off and the affine of the branch; at each site moments
    are merged by Chan's formula in float64 over batches (and ranks), counting values. So the first site is exact for any
    batching; deeper sites see features that depend on the batches' composition. A second pass measures under the result of
    the first in place of each batch's own moments: the next site is exact as well, and the others depend on the batches
    through the first pass only (on a trained ResNet-20 the largest difference is halved).

    Sites that no batch reaches, such as heads that run in training only, are not in the bank, which lists them as ``unreached``;
    nor are sites that see a single value per channel of all data, behind a global pooling of one image, which are ``single``.

    Reduces to: PyTorch's batch statistics for one batch (unbiased variance), which :func:`install_` then makes the
    published rectification; precise BN over many batches.

    Args:
        batches: tensors, tuples whose first entry is the input, or dicts of keyword arguments.
        branch: whose affine to measure through, and which route to use; of each site, as in :meth:`Bank.of`. Where branches share
            their statistics it may be left out: these are measured, through the affines of the route.
        passes: 1 or 2.
        route: the route of a batch, as :func:`renorm.route` takes it: ``lambda batch: batch[1]`` of images and their labels. By
            default the one that is open or lasting.
        group: ranks to pool over; every one must call, also one without batches. ``None`` is no communication.
        forward: ``forward(model, batch)`` for batches of another form.
        samples: how many a batch has, or a function of it that says so. By default a tensor counts its rows, a list of images its
            entries, and all entries of a dict must have one length.
        data: what the batches are, in words, for the bank's file.
        strict: refuse batches that do not reach every site.

    Raises:
        TypeError: one tensor in place of batches, or a batch of no known form.
        ValueError: no batch, shared statistics without a route, a route for a branch, no site that a batch reached with two
            values per channel, numbers that are not finite. The model is unchanged.
        RuntimeError: another thread measures the model or changes its statistics at the time.

    Reference: Benz et al., *Revisiting batch normalization for improving corruption robustness*, 2021;
    Wu & Johnson, *Rethinking "batch" in BatchNorm*, 2021.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> renorm.measure(model, [torch.randn(8, 3, 5, 5), torch.randn(2, 3, 5, 5)])
        Bank of 1 site, 10 samples
    """
    if passes not in (1, 2):
        raise ValueError(
            f"passes={passes} was given. One pass measures, two measure again under the result. Use 1 or 2."
        )
    if isinstance(batches, Tensor):
        raise TypeError(
            f"one tensor of shape {tuple(batches.shape)} was given. Measuring takes an iterable of batches. "
            f"Pass [images], or images.split(128)."
        )
    if passes == 2 and iter(batches) is batches:
        raise ValueError("an iterator was given for two passes. It can be read once. Pass a list or a DataLoader.")
    branch = resolve(model, branch)
    targets = site_tensors(model, branch)
    _check_route(model, branch, route)

    def read() -> Iterator[Counted]:
        return each_counted(batches, samples, whole=forward is not None)

    call_ = forward if route is None else _routed(forward, route)
    with exclusive(model), _kept(targets) as source:
        bank = _one_pass(model, read(), branch, targets, group, call_, source)
        lost = unreached(targets, bank.sites, strict, bank.single)
        if passes == 2:
            for name, given in bank.sites.items():
                _fill(targets[name], given)
            bank = _one_pass(model, read(), branch, targets, group, call_)
    return Bank(bank.sites, bank.samples, branch, data, unreached=lost, single=bank.single).from_model(model)


def recalibrate_(
    model: nn.Module,
    batches: Iterable[Any],
    branch: Branch = None,
    *,
    original: nn.Module | None = None,
    passes: int = 1,
    route: Routing | None = None,
    group: Group = None,
    forward: Forward | None = None,
    samples: Samples = None,
    strict: bool = False,
) -> Installation:
    """:func:`measure` the statistics of a branch over data and install them, for weights that have changed or were averaged.

    With the original at hand the statistics are its own, moved by what the batches show of the change (:func:`transfer`): then
    what the batches are unlike the images of training costs nothing.

    Sites that no batch reaches keep theirs bit for bit; the result lists them as ``unreached`` and has ``undo()``. An error half
    way leaves the model as it was.

    Args:
        original: the model before its weights changed, in place of a measurement alone; it is left as it is.

    Raises:
        ValueError: what :func:`measure` refuses; an original with other sites; batches that can be read only once.
    """
    branch = resolve(model, branch)
    if original is not None and iter(batches) is batches:
        raise ValueError("an iterator was given for two models. It can be read once. Pass a list or a DataLoader.")
    with exclusive(model):
        how: Any = {"passes": passes, "route": route, "group": group, "forward": forward, "samples": samples}
        found = measure(model, batches, branch, **how, strict=strict)
        if original is not None:
            source = Bank.of(original, branch)
            found = transfer(source, measure(original, batches, branch, **how, strict=strict), found)
        return install_(model, found, branch)


def _check_route(model: nn.Module, branch: Branch, route: Routing | None) -> None:
    """A route of each batch is for statistics that branches share, and these need one, be it given or open."""
    sites = named_sites(model)
    if route is not None and (branch is not None or not sites):
        what = "a model without branches" if branch is None else f"branch {branch!r}"
        raise ValueError(
            f"route= was given for {what}. The route of each batch is for branches that share their statistics; those of one "
            f"branch are measured by its own batches. Leave route out, and give these alone."
        )
    if route is None and branch is None and any(site.route.selected(training=False) is None for site in sites.values()):
        raise ValueError(
            f"the branches {list(next(iter(sites.values())).branches)} share their statistics, and nothing says through which "
            f"affines these batches go. Pass route=lambda batch: batch[1] for labels in the batches, or call inside "
            f"`with renorm.route(model, ...)`."
        )


def _routed(forward: Forward | None, route: Routing) -> Forward:
    """A forward of each batch under its own route."""

    def routed(model: nn.Module, batch: Any) -> Any:
        with open_route(model, route(batch)):
            return call(model, batch, forward)

    return routed


@contextmanager
def _kept(targets: Mapping[str, SiteTensors]) -> Iterator[dict[str, Statistics]]:
    """The statistics, as copies, and given back at the end, whatever happens."""
    saved = {name: Statistics(site.mean.clone(), site.var.clone()) for name, site in targets.items()}
    try:
        yield saved
    finally:
        for name, site in targets.items():
            _fill(site, saved[name])


def _fill(site: SiteTensors, given: Statistics | Moments) -> None:
    site.mean.copy_(given.mean)
    site.var.copy_(given.var)


def _one_pass(
    model: nn.Module,
    batches: Iterable[Counted],
    branch: Branch,
    targets: Mapping[str, SiteTensors],
    group: Group,
    forward: Forward | None,
    source: Mapping[str, Statistics] | None = None,
) -> Bank:
    """One forward of each batch, under its own moments if the source's are given, which serve where it has one value; or under
    what the sites have.
    """
    pooled: dict[str, Moments] = {}

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        batch = batch_moments(x)
        if source is not None:
            _fill(site, batch if batch.count > 1 else source[name])
        batch = Moments(batch.mean.double(), batch.var.double(), batch.count)
        pooled[name] = merge(pooled[name], batch) if name in pooled else batch

    samples, failure = 0, None
    try:
        with observed(model, targets, branch, observe):
            for batch in batches:
                samples += batch.samples
                call(model, batch, forward)
    except Exception as error:
        if group is None:
            raise
        failure = error  # the other ranks wait at the collective: tell them first
    if group is not None:
        samples, pooled = _over_ranks(pooled, targets, samples, failure, group)
    single = tuple(name for name, m in pooled.items() if m.count == 1)
    return Bank(_finished(pooled, targets, samples), samples, single=single)


def _finished(pooled: Mapping[str, Moments], targets: Mapping[str, SiteTensors], samples: int) -> dict[str, Statistics]:
    if samples == 0:
        raise ValueError(
            "the batches were empty. Measuring needs at least one image. Check the loader, or its drop_last."
        )
    sites = {}
    for name, m in pooled.items():
        if m.count < 2:
            continue
        own = targets[name]
        sites[name] = Statistics(m.mean.to(own.mean), unbiased(m).to(own.var), int(m.count))
        check_finite(name, sites[name])
    return sites


def _over_ranks(
    pooled: dict[str, Moments],
    targets: Mapping[str, SiteTensors],
    samples: int,
    failure: Exception | None,
    group: dist.ProcessGroup,
) -> tuple[int, dict[str, Moments]]:
    """Merge over ranks in one collective, which also carries whether a rank failed."""
    device = next(iter(targets.values())).mean.device
    parts = [torch.tensor([float(samples), float(failure is not None)], dtype=torch.float64, device=device)]
    for name, site in targets.items():
        zeros = torch.zeros_like(site.mean, dtype=torch.float64)
        m = pooled.get(name, Moments(zeros, zeros, 0.0))
        parts += [torch.as_tensor(m.count, dtype=torch.float64, device=device).reshape(1), m.mean, m.var]
    flat = torch.cat(parts)
    if failure is not None:
        flat.nan_to_num_()
    ranks = [torch.empty_like(flat) for _ in range(dist.get_world_size(group))]
    dist.all_gather(ranks, flat, group=group)
    failed = [rank for rank, row in enumerate(ranks) if row[1] > 0]
    if failure is not None:
        raise failure
    if failed:
        raise RuntimeError(f"rank {failed[0]} failed while measuring. All ranks are needed. See its error.")
    merged: dict[str, Moments] = {}
    for row in ranks:
        at = 2
        for name, site in targets.items():
            channels = site.mean.numel()
            m = Moments(row[at + 1 : at + 1 + channels], row[at + 1 + channels : at + 1 + 2 * channels], row[at])
            merged[name] = merge(merged[name], m) if name in merged else m
            at += 1 + 2 * channels
    return int(sum(row[0] for row in ranks)), merged
