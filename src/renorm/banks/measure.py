"""Population statistics of a model over data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from renorm.banks.bank import Bank, Statistics, check_finite
from renorm.banks.hold import exclusive
from renorm.banks.install import Installation, install_
from renorm.banks.observe import Forward, call, num_samples, observed, unreached
from renorm.banks.sites import Branch, SiteTensors, named_sites, resolve, site_tensors
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
    data: str | None = None,
    strict: bool = False,
) -> Bank:
    """The statistics of every site over data, pooled exactly; the model is left as it was.

    Sites normalize by the current batch, as in training, with dropout off and the affine of the branch; at each site moments
    are merged by Chan's formula in float64 over batches (and ranks), counting values. So the first site is exact for any
    batching; deeper sites see features that depend on the batches' composition. A second pass measures under the result of
    the first in place of each batch's own moments: the next site is exact as well, and the others depend on the batches
    through the first pass only (on a trained ResNet-20 the largest difference is halved).

    Sites that no batch reaches, such as heads that run in training only, are not in the bank, which lists them as ``unreached``.

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
        data: what the batches are, in words, for the bank's file.
        strict: refuse batches that do not reach every site.

    Raises:
        TypeError: one tensor in place of batches, or a batch of no known form.
        ValueError: no batch, shared statistics without a route, a route for a branch, no site that a batch reached, numbers that
            are not finite. The model is unchanged.
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
    forward = forward if route is None else _routed(forward, route)
    with exclusive(model), _kept(targets):
        bank = _one_pass(model, batches, branch, targets, group, forward, by_batch=True)
        lost = unreached(targets, bank.sites, strict)
        if passes == 2:
            for name, given in bank.sites.items():
                targets[name].mean.copy_(given.mean)
                targets[name].var.copy_(given.var)
            bank = _one_pass(model, batches, branch, targets, group, forward, by_batch=False)
    return Bank(bank.sites, bank.samples, branch, data, unreached=lost).from_model(model)


def recalibrate_(
    model: nn.Module,
    batches: Iterable[Any],
    branch: Branch = None,
    *,
    passes: int = 1,
    route: Routing | None = None,
    group: Group = None,
    forward: Forward | None = None,
    strict: bool = False,
) -> Installation:
    """:func:`measure` the statistics of a branch over data and install them, for weights that have changed or were averaged.

    Sites that no batch reaches keep theirs bit for bit; the result lists them as ``unreached`` and has ``undo()``. An error half
    way leaves the model as it was.
    """
    branch = resolve(model, branch)
    with exclusive(model):
        bank = measure(model, batches, branch, passes=passes, route=route, group=group, forward=forward, strict=strict)
        return install_(model, bank, branch)


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
def _kept(targets: Mapping[str, SiteTensors]) -> Iterator[None]:
    """Give the statistics back at the end, whatever happens."""
    saved = [(t, t.clone()) for site in targets.values() for t in (site.mean, site.var)]
    try:
        yield
    finally:
        for tensor, value in saved:
            tensor.copy_(value)


def _one_pass(
    model: nn.Module,
    batches: Iterable[Any],
    branch: Branch,
    targets: Mapping[str, SiteTensors],
    group: Group,
    forward: Forward | None,
    *,
    by_batch: bool,
) -> Bank:
    pooled: dict[str, Moments] = {}

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        batch = batch_moments(x)
        if by_batch:
            site.mean.copy_(batch.mean)
            site.var.copy_(batch.var)
        batch = Moments(batch.mean.double(), batch.var.double(), batch.count)
        pooled[name] = merge(pooled[name], batch) if name in pooled else batch

    samples, failure = 0, None
    try:
        with observed(model, targets, branch, observe):
            for batch in batches:
                samples += num_samples(batch)
                call(model, batch, forward)
    except Exception as error:
        if group is None:
            raise
        failure = error  # the other ranks wait at the collective: tell them first
    if group is not None:
        samples, pooled = _over_ranks(pooled, targets, samples, failure, group)
    return Bank(_finished(pooled, targets, samples), samples)


def _finished(pooled: Mapping[str, Moments], targets: Mapping[str, SiteTensors], samples: int) -> dict[str, Statistics]:
    if samples == 0:
        raise ValueError(
            "the batches were empty. Measuring needs at least one image. Check the loader, or its drop_last."
        )
    sites = {}
    for name, m in pooled.items():
        if m.count == 0:
            continue
        if m.count < 2:
            raise ValueError(
                f"site {name!r} got a single value per channel. A variance needs at least two. Give more or larger images."
            )
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
