"""The places of a model that hold running statistics, seen through one branch."""

from __future__ import annotations

import difflib
import hashlib
import sys
from collections.abc import Mapping
from fnmatch import fnmatchcase
from operator import itemgetter
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parameter import UninitializedBuffer
from torch.optim.swa_utils import AveragedModel

from renorm.layers import Site, called, moving, quantized, read_by_parents, running, scripted, sites_of
from renorm.routing import route_of

Branch = str | Mapping[str, str] | None  # of a model, of each site by patterns of names, or what all branches share

WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # what torch's own put into names


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
    """The model inside ``torch.compile``, parallel wrappers, averages of weights and adapters of peft, whose names banks use."""
    while True:
        inner = getattr(model, "_orig_mod", model)
        if isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel, AveragedModel)):
            inner = inner.module
        elif (peft := sys.modules.get("peft")) and isinstance(inner, peft.PeftModel):
            base: Any = inner
            inner = base.get_base_model()
        if inner is model:
            return model
        model = inner


def resolve(model: nn.Module, branch: Branch) -> Branch:
    """The branch that is meant: the one named, else the active route's, else the only one; ``None`` for a plain model.

    Branches that share their statistics at every site may be left out: ``None`` then means these statistics. A mapping names
    the branch of each site by the first pattern that fits the site's name.

    Raises:
        ValueError: no branch or none of this name, a pattern that fits no site, a site that no pattern fits.
    """
    sites = named_sites(model)
    if not sites:
        if branch is not None:
            raise ValueError(
                f"branch={branch!r} was given for a model without branches. A plain model has one set of statistics. "
                f"Leave branch out, or convert the model by renorm.split_."
            )
        return None
    if isinstance(branch, Mapping):
        _check_patterns(sites, branch)
        return dict(branch)
    route = next(iter(sites.values())).route
    if branch is None:
        active = route.selected(training=False)
        if active is not None and active.only is not None:
            return route.name_of(active.only)
        if len(route.branches) == 1:
            return route.branches[0]
        if all(site.num_populations == 1 for site in sites.values()):
            return None
        raise ValueError(
            f"no branch was given, and the model has {list(route.branches)}. A bank belongs to one. "
            f"Pass branch=, or call inside `with renorm.route(model, {route.branches[0]!r})`."
        )
    route.row(branch)
    return branch


def named_sites(model: nn.Module) -> dict[str, Site]:
    """The branched sites of a model by the names that banks use."""
    return {_clean(name): site for name, site in sites_of(unwrap(model))}


def _clean(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def _check_patterns(sites: Mapping[str, Site], branch: Mapping[str, str]) -> None:
    for pattern in branch:
        if not any(fnmatchcase(name, pattern) for name in sites):
            close = difflib.get_close_matches(pattern, sites, n=3) or list(sites)[:3]
            raise ValueError(
                f"branch= names sites by {pattern!r}, which fits none of the model's {len(sites)}. A pattern is a site's name "
                f"or has wildcards. Close matches: {close}."
            )
    for name, site in sites.items():
        site.route.row(branch_at(name, branch))


def branch_at(name: str, branch: Mapping[str, str]) -> str:
    """The branch of a site by the first pattern that fits its name."""
    found = next((value for pattern, value in branch.items() if fnmatchcase(name, pattern)), None)
    if found is None:
        raise ValueError(
            f"branch= names no branch for site {name!r}: its patterns are {list(branch)}. Every site needs one. "
            f"Add a pattern, or '*' as the last for all others."
        )
    return found


def site_tensors(model: nn.Module, branch: Branch) -> dict[str, SiteTensors]:
    """Every site with running statistics by name, through a branch (resolved already).

    Raises:
        ValueError: There is none, or one whose statistics are no numbers yet, or may not be changed.
    """
    found = tracked(model, branch)
    for name, site in found.items():
        _check_usable(name, site.mean)
    if not found and (others := of_other_kinds(model)):
        raise ValueError(
            f"the norms of this {type(unwrap(model)).__name__}, {others[0]!r} first, have statistics of another kind than a "
            f"running mean and variance. Banks hold these two. Use a model that has some, or train such norms further."
        )
    if not found:
        norms = sorted({type(m).__name__ for m in model.modules() if "Norm" in type(m).__name__})
        raise ValueError(
            f"{type(unwrap(model)).__name__} has no running statistics; its norms are {norms or 'none'}. "
            f"Banks need layers such as BatchNorm with track_running_stats=True. Use a model that has them; the head "
            f"of one that has none is moved by renorm.recenter_."
        )
    return found


def _check_usable(name: str, mean: Tensor) -> None:
    if isinstance(mean, UninitializedBuffer):
        raise ValueError(
            f"site {name!r} is lazy and has no channels yet. Statistics are needed. Run one batch through the model first."
        )
    if mean.is_meta:
        raise ValueError(
            f"site {name!r} is on the meta device, where tensors have no values. Statistics are needed. Give the model memory, "
            f"model.to_empty(device='cpu'), and its weights."
        )
    if mean.is_inference() and not torch.is_inference_mode_enabled():
        raise ValueError(
            f"site {name!r} was made under torch.inference_mode, outside of which its tensors may not be changed. Ordinary ones "
            f"are needed. Copy the model here, by copy.deepcopy, or make it under torch.no_grad."
        )


def tracked(model: nn.Module, branch: Branch) -> dict[str, SiteTensors]:
    """The same, of a model that may have none."""
    found: dict[str, SiteTensors] = {}
    inside: set[int] = set()
    for name, module in unwrap(model).named_modules():
        if id(module) in inside:
            continue
        name = _clean(name)
        _refuse_compiled(name, module)
        if isinstance(module, Site):
            inside |= {id(m) for m in module.modules()}
            own = _of_site(module, branch_at(name, branch) if isinstance(branch, Mapping) else branch)
            found |= {} if own is None else {name: own}
        elif _tracks(module):
            found[name] = _of_plain(module)
    return found


def _refuse_compiled(name: str, module: nn.Module) -> None:
    what = "scripted or traced" if scripted(module) else "quantized" if quantized(module) else ""
    if what and "running_mean" in dict(module.named_buffers(recurse=False)):
        raise ValueError(
            f"site {name!r} is part of a {what} model. Its statistics are compiled into code that cannot be observed. Adapt the "
            f"model it was made from, and make it again."
        )


def check_called(targets: Mapping[str, SiteTensors]) -> None:
    """Refuse sites that are never called, as a graph reads their tensors.

    Raises:
        ValueError: such sites.
    """
    for name, site in targets.items():
        if not called(site.module):
            raise ValueError(
                f"site {name!r} of an exported program only holds tensors that its graph reads, so it cannot be observed. "
                f"Forwards need the model it was exported from. Adapt or convert that one, and export it again; or install "
                f"its bank here."
            )


def of_other_kinds(model: nn.Module) -> tuple[str, ...]:
    """Norms whose statistics are no mean and variance, by name: forwards leave them as they are."""
    return tuple(_clean(name) for name in moving(unwrap(model)))


def read_elsewhere(model: nn.Module, targets: Mapping[str, SiteTensors]) -> bool:
    """Whether modules around sites read their statistics before these are called, and so before a hook can change them."""
    inner = unwrap(model)
    wanted = {id(site.module) for site in targets.values()}
    return bool(read_by_parents(inner, {name: m for name, m in inner.named_modules() if id(m) in wanted}))


def _tracks(module: nn.Module) -> bool:
    """Whether a module holds statistics of batches, of its own class or a like one; instance norms do not."""
    like = isinstance(module, _BatchNorm) or not isinstance(module, nn.modules.instancenorm._InstanceNorm)
    frozen = not module._parameters and "Frozen" in type(module).__name__
    return like and not frozen and not scripted(module) and running(module) is not None


def _of_plain(module: nn.Module) -> SiteTensors:
    weight, bias = (module._parameters.get(key) for key in ("weight", "bias"))
    return SiteTensors(module, module.get_buffer("running_mean"), module.get_buffer("running_var"), weight, bias)


def _of_site(site: Site, branch: str | None) -> SiteTensors | None:
    """A branch's tensors, or what all branches share; ``None`` where no statistics are tracked."""
    shared = branch is None and site.num_populations == 1
    row = 0 if shared else site.route.row(branch or "")
    now = site.statistics(row)
    if now is None or not _tracks(site.called(row)):
        return None
    affine = (None, None) if shared else site.affine_of(row)
    return SiteTensors(site.called(row), now.mean, now.var, *affine, site, row)


def versions(model: nn.Module) -> int:
    """A number that changes when any weight outside the sites is written to."""
    return sum(tensor._version for tensor in _others(model).values())


def fingerprint(model: nn.Module) -> str | None:
    """A hash of all weights outside the sites, which banks must fit; none of a sharded model, of which each rank has a part."""
    others = _others(model)
    return None if any(sharded(tensor) for tensor in others.values()) else hash_of(others)


def sharded(tensor: Tensor) -> bool:
    """Whether a tensor is spread over ranks."""
    module = sys.modules.get("torch.distributed.tensor")  # else nothing is
    return module is not None and isinstance(tensor, module.DTensor)


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
    modules = inner.named_modules()
    norms = [_clean(name) for name, m in modules if isinstance(m, (Site, _BatchNorm)) or _tracks(m)]
    sites = tuple(f"{name}." if name else "" for name in norms)
    own = ((_clean(key), value) for key, value in inner.state_dict(keep_vars=True).items())
    return {
        k: v for k, v in sorted(own, key=itemgetter(0)) if isinstance(v, Tensor) and not (sites and k.startswith(sites))
    }


def branches_of(model: nn.Module) -> tuple[str, ...]:
    """The branches of a model; none for a plain one."""
    route = route_of(model)
    return () if route is None else route.branches
