"""The places of a model that hold running statistics, seen through one branch."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from renorm.layers import Site, running
from renorm.routing import route_of


class SiteTensors(NamedTuple):
    """One site's tensors for a branch, as views: what is written to them is in the model. Shapes ``(C,)``.

    The affine of a sandwich is merged from two, so it is a copy. ``module`` is what the branch's samples are normalized by.
    """

    module: nn.Module
    mean: Tensor
    var: Tensor
    weight: Tensor | None
    bias: Tensor | None
    site: Site | None = None  # of which the branch is this row; none for a plain norm
    row: int = 0

    def writes(self, weight: Tensor | None, bias: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        """Tensors of the model with the values that make the affine the given one."""
        if self.site is not None:
            return self.site.writes(self.row, weight, bias)
        pairs = zip((self.weight, self.bias), (weight, bias), strict=True)
        return [(own, value) for own, value in pairs if own is not None and value is not None]

    def parameters(self) -> dict[str, nn.Parameter]:
        """The scale and the bias by which the branch can be trained, by their names in the module."""
        if self.site is not None:
            return self.site.own_parameters(self.row)
        own = ((key, self.module._parameters.get(key)) for key in ("weight", "bias"))
        return {key: parameter for key, parameter in own if parameter is not None}


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside ``torch.compile`` and parallel wrappers, whose names banks use."""
    while True:
        inner = getattr(model, "_orig_mod", model)
        if isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
            inner = inner.module
        if inner is model:
            return model
        model = inner


def resolve(model: nn.Module, branch: str | None) -> str | None:
    """The branch that is meant: the one named, else the active route's, else the only one; ``None`` for a plain model."""
    route = route_of(model)
    if route is None:
        if branch is not None:
            raise ValueError(
                f"branch={branch!r} was given for a model without branches. A plain model has one set of statistics. "
                f"Leave branch out, or convert the model by renorm.split_."
            )
        return None
    if branch is None:
        active = route.selected(training=False)
        if active is not None and active.only is not None:
            return route.name_of(active.only)
        if len(route.branches) == 1:
            return route.branches[0]
        raise ValueError(
            f"no branch was given, and the model has {list(route.branches)}. A bank belongs to one. "
            f"Pass branch=, or call inside `with renorm.route(model, {route.branches[0]!r})`."
        )
    route.row(branch)
    return branch


def site_tensors(model: nn.Module, branch: str | None) -> dict[str, SiteTensors]:
    """Every site with running statistics by name, through a branch (resolved already).

    Raises:
        ValueError: There is none.
    """
    found = tracked(model, branch)
    if not found:
        norms = sorted({type(m).__name__ for m in model.modules() if "Norm" in type(m).__name__})
        raise ValueError(
            f"{type(unwrap(model)).__name__} has no running statistics; its norms are {norms or 'none'}. "
            f"Banks need layers such as BatchNorm with track_running_stats=True. Use a model that has them."
        )
    return found


def tracked(model: nn.Module, branch: str | None) -> dict[str, SiteTensors]:
    """The same, of a model that may have none."""
    found: dict[str, SiteTensors] = {}
    inside: set[int] = set()
    for name, module in unwrap(model).named_modules():
        if id(module) in inside:
            continue
        name = name.replace("_orig_mod.", "").removesuffix("_orig_mod").rstrip(".")
        if isinstance(module, Site):
            inside |= {id(m) for m in module.modules()}
            row = module.route.row(branch or "")
            if _tracks(module.called(row)):
                found[name] = _of_site(module, row)
        elif _tracks(module):
            found[name] = _of_plain(module)
    return found


def _tracks(module: nn.Module) -> bool:
    """Whether a module holds statistics of batches, of its own class or a like one; instance norms do not."""
    like = isinstance(module, _BatchNorm) or not isinstance(module, nn.modules.instancenorm._InstanceNorm)
    frozen = not module._parameters and "Frozen" in type(module).__name__
    return like and not frozen and running(module) is not None


def _of_plain(module: nn.Module) -> SiteTensors:
    weight, bias = (module._parameters.get(key) for key in ("weight", "bias"))
    return SiteTensors(module, module.get_buffer("running_mean"), module.get_buffer("running_var"), weight, bias)


def _of_site(site: Site, row: int) -> SiteTensors:
    now = site.statistics(row)
    assert now is not None
    return SiteTensors(site.called(row), now.mean, now.var, *site.affine_of(row), site, row)


def versions(model: nn.Module) -> int:
    """A number that changes when any weight outside the sites is written to."""
    return sum(tensor._version for tensor in _others(model).values())


def fingerprint(model: nn.Module) -> str:
    """A hash of all weights outside the sites, which banks must fit."""
    return hash_of(_others(model))


def hash_of(tensors: Mapping[str, Tensor]) -> str:
    """The SHA-256 of tensors with their names, shapes and types, in hexadecimal digits."""
    digest = hashlib.sha256()
    for key, tensor in tensors.items():
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{key} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.view(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()


def _others(model: nn.Module) -> dict[str, Tensor]:
    inner = unwrap(model)
    kinds = (Site, _BatchNorm)
    sites = tuple(f"{name}." if name else "" for name, m in inner.named_modules() if isinstance(m, kinds) or _tracks(m))
    own = {k: v for k, v in inner.state_dict(keep_vars=True).items() if not (sites and k.startswith(sites))}
    return {k.replace("_orig_mod.", ""): v for k, v in sorted(own.items()) if isinstance(v, Tensor)}
