"""A plain model out of one branch."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from renorm.layers import Site, sites_of
from renorm.routing import routes_of, through
from renorm.surgery.swap import keep_tied, refuse_spread, swap_, unhook_

Probe = Tensor | tuple[Any, ...] | dict[str, Any] | None


@torch.inference_mode(False)  # the copy can be trained, wherever it is made
def fold(model: nn.Module, branch: str, probe: Probe = None) -> nn.Module:
    """A copy of a model with plain layers and plain keys, equal to the model evaluated through one branch.

    Every site is compared with its plain layer on random features before the copy is returned; with a ``probe`` the whole
    models are compared on it as well, in evaluation mode.

    Args:
        branch: its name.
        probe: an input: a tensor, or the model's positional (tuple) or keyword (dict) arguments.

    Raises:
        ValueError: no branched site, an unknown branch, statistics that are not finite or were never updated.
        RuntimeError: the copy is not equal (a model whose forward asks for the class of its norms, say).

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> renorm.fold(model, "strong", probe=torch.randn(2, 3, 5, 5))[1]
        BatchNorm2d(4, eps=1e-05, momentum=0.1, affine=True, bias=True, track_running_stats=True)
    """
    inner = getattr(model, "_orig_mod", model)
    inner = getattr(inner, "module", inner) if isinstance(inner, nn.parallel.DistributedDataParallel) else inner
    for each in routes_of(inner):
        each.row(branch)
    refuse_spread(inner, "fold that one")
    folded = copy.deepcopy(inner, _derived(inner))
    made: dict[int, nn.Module] = {}
    sites = [site for _, site in sites_of(folded)]
    for site in sites:
        row = site.route.row(branch)
        check_statistics(site, row, branch)
        made[id(site)] = site.plain(row)
        _prove_site(site, made[id(site)], branch)
    keep_tied([(site, made[id(site)]) for site in sites])
    if id(folded) in made:
        return made[id(folded)]
    swap_(folded, made)
    for module in folded.modules():
        unhook_(module)
    if probe is not None:
        _prove(inner, folded, branch, probe)
    return folded


def _derived(model: nn.Module) -> dict[int, Any]:
    """Copies of tensors that modules keep beside their parameters, made from them by hooks of pruning and weight norm, which
    PyTorch does not copy.
    """
    kept = (t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor) and not t.is_leaf)
    return {id(t): t.detach().clone() for t in kept}


def check_statistics(site: Site, row: int, branch: str) -> None:
    """Refuse statistics that are broken, or that no batch ever reached while other branches were trained."""
    now = site.statistics(row)
    if now is None or now.mean.is_meta:
        return
    mean, var, tracked = now
    if not (mean.isfinite().all() and var.isfinite().all() and (var >= 0).all()):
        raise ValueError(
            f"site {site.name!r} has statistics of branch {branch!r} that are not finite or negative. "
            f"Evaluation needs finite ones. Measure them again: renorm.recalibrate_(model, batches, branch={branch!r})."
        )
    initial = not mean.any() and bool((var == 1).all())
    if initial and tracked is not None and int(tracked) == 0 < _most_batches(site):
        raise ValueError(
            f"site {site.name!r} never saw a batch of branch {branch!r}, while others were trained. Its statistics are still "
            f"the initial ones. Measure them: renorm.recalibrate_(model, batches, branch={branch!r})."
        )


def _most_batches(site: Site) -> int:
    """How many batches the branch that has seen most has seen."""
    found = [site.statistics(row) for row in range(len(site.branches))]
    return max(int(each.num_batches) for each in found if each is not None and each.num_batches is not None)


def _prove_site(site: Site, norm: nn.Module, branch: str) -> None:
    x = site.example()
    if x is None:
        return
    with _evaluating(site, norm, branch):
        _compare(site.name, branch, site.forward(x), norm.forward(x))  # without hooks, which may keep what they see


def _prove(model: nn.Module, folded: nn.Module, branch: str, probe: Any) -> None:
    with _evaluating(model, folded, branch):
        output = _called(model, probe)
        if any(leaf.isnan().any() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)):
            raise ValueError(
                f"branch {branch!r} of the model gives NaN for the probe. Copies that give NaN prove nothing. "
                f"Look for NaN in the weights and the probe, or give another one."
            )
        _compare(type(model).__name__, branch, output, _called(folded, probe))


@contextmanager
def _evaluating(model: nn.Module, folded: nn.Module, branch: str) -> Iterator[None]:
    modes = [(m, m.training) for each in (model, folded) for m in each.modules()]
    try:
        model.eval()
        folded.eval()
        with torch.no_grad(), through(model, branch):
            yield
    finally:
        for module, training in modes:
            module.training = training


def _compare(name: str, branch: str, output: Any, other: Any) -> None:
    ours, theirs = ([leaf for leaf in tree_leaves(out) if isinstance(leaf, Tensor)] for out in (output, other))
    if len(ours) != len(theirs) or not all(_close(a, b) for a, b in zip(ours, theirs, strict=True)):
        raise RuntimeError(
            f"the folded copy of {name!r} is not equal to branch {branch!r} of the model. It must give the same outputs. "
            f"Look for a forward that depends on the class of its norms, or on the mode."
        )


def _close(a: Tensor, b: Tensor) -> bool:
    """Equal but for rounding, which only sites that normalize by the batch in evaluation show."""
    tolerance = max(1e-5, 8 * torch.finfo(a.dtype).eps) if a.is_floating_point() else 0.0
    return a.shape == b.shape and torch.allclose(a, b, rtol=tolerance, atol=tolerance, equal_nan=True)


def _called(model: nn.Module, probe: Any) -> Any:
    if isinstance(probe, dict):
        return model(**probe)
    return model(*probe) if isinstance(probe, tuple) else model(probe)
