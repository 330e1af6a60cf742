"""One rule per class of norm: what a conversion makes of it, and how the plain layer comes back."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from renorm.layers import BranchCopies, SandwichBatchNorm, SplitBatchNorm
from renorm.routing import Route

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
FUSED = ("BatchNormAct2d", "SyncBatchNormAct")  # timm's, whose children are called after the norm in their order
TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
FROZEN = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")  # torchvision's and timm's: statistics that are constants
HOOKS = (
    "_forward_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
    "_forward_pre_hooks_with_kwargs",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
    "_state_dict_pre_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)

Site = SplitBatchNorm | BranchCopies


class Rule(NamedTuple):
    """What to do with a module: ``split``, ``copy``, ``leave`` (with the reason) or ``pass`` (no norm with statistics)."""

    action: str
    reason: str = ""


def rule_for(module: nn.Module) -> Rule:
    """The rule of a module, by its exact class."""
    kind = type(module)
    if isinstance(module, _LazyNormBase):  # one that has seen a batch has become its plain class
        return Rule("refuse", "it is lazy and has no channels yet. Run one batch through the model first.")
    fused = kind.__name__ in FUSED and kind.__module__.startswith("timm.")
    if kind in PLAIN or fused:
        return _rule_for_known(module, TENSORS | {"drop", "act"} if fused else TENSORS)
    if kind.__name__ in FROZEN:
        return Rule("leave", "its statistics are frozen constants")
    if isinstance(module, _BatchNorm) or module._buffers.get("running_mean") is not None:
        return Rule("copy")
    return Rule("pass")


def _rule_for_known(norm: nn.Module, parts: set[str]) -> Rule:
    """A norm of a known class, unless something was added to it."""
    own = {*norm._parameters, *norm._buffers, *norm._modules}
    if not norm._parameters.keys() >= {"weight", "bias"}:
        made = sorted(norm._parameters.keys() - parts)
        return Rule(
            "refuse", f"its weights are made by hooks from {made}. Make them permanent first (prune.remove, ...)."
        )
    return Rule("split" if own <= parts else "copy")


def split(norm: Any, route: Route, share: Iterable[str], sync: Any) -> SplitBatchNorm:
    """A :class:`SplitBatchNorm` in place of a norm: every branch starts as a copy of it; children and hooks are its own."""
    site = SplitBatchNorm(*_settings(norm, route), share=share, sync=_sync(norm, sync), route=route, device="meta")
    return _filled(site, norm)


def sandwich(
    norm: Any, route: Route, share: Iterable[str], sync: Any, init: str, generator: torch.Generator | None
) -> SandwichBatchNorm:
    """A :class:`SandwichBatchNorm` in place of a norm, whose affine becomes the shared one."""
    site = SandwichBatchNorm(*_settings(norm, route), share=share, sync=_sync(norm, sync), route=route, device="meta")
    for key in ("weight", "bias"):
        given = norm._parameters[key]
        site._parameters[f"branch_{key}"] = None
        if given is not None:
            own = given.new_empty(site.num_rows * site.num_features)
            site._parameters[f"branch_{key}"] = nn.Parameter(own, given.requires_grad)
    _filled(site, norm)
    site.initialize_(init, generator, shared=init != "identity")
    return site


def _settings(norm: Any, route: Route) -> tuple[Any, ...]:
    return norm.num_features, route.branches, norm.eps, norm.momentum, norm.affine, norm.track_running_stats


def _sync(norm: nn.Module, sync: Any) -> Any:
    if sync is None and isinstance(norm, nn.SyncBatchNorm):
        return "world" if norm.process_group is None else norm.process_group
    return sync


def _filled(site: Any, norm: nn.Module) -> Any:
    """The site with the norm's tensors, repeated for each branch where it has its own; its children, mode and hooks."""
    for tensors, given in ((site._parameters, norm._parameters), (site._buffers, norm._buffers)):
        for key in tensors:
            if key in given:
                tensors[key] = _branched(given[key], len(site.branches) if site.branched(key) else 1)
    for key, child in norm._modules.items():
        site.add_module(key, child)
    vars(site)["template"] = without_tensors(norm)  # not setattr, which would register it as a child
    carry_state(norm, site)
    return site


def _branched(given: Any, rows: int) -> Any:
    """What branches make of a tensor of the norm, which may lack any of them."""
    if given is None:
        return None
    flat = repeated(given, rows * given.numel())
    return nn.Parameter(flat, requires_grad=given.requires_grad) if isinstance(given, nn.Parameter) else flat


def copies(norm: nn.Module, route: Route) -> BranchCopies:
    """A :class:`BranchCopies` in place of a norm; hooks stay outside, called once for the whole batch."""
    site = BranchCopies(norm, route)
    for child in site.children():
        for key in HOOKS:
            getattr(child, key).clear()
    carry_state(norm, site)
    return site


def plain(site: Site, branch: int) -> nn.Module:
    """The plain layer of a branch, of the class the site had before, with copies of its tensors."""
    if isinstance(site, BranchCopies):
        norm = copy.deepcopy(site.of(branch))
    else:
        norm = _template(site)
        for key, value in zip(("weight", "bias"), affine_of(site, branch), strict=True):
            own = site._parameters[key]
            if own is not None and value is not None:
                norm._parameters[key] = nn.Parameter(value.clone(), requires_grad=own.requires_grad)
        for key, own in site._buffers.items():
            if own is not None:
                value = row_of(own, site.num_populations, branch).clone()
                norm._buffers[key] = value.squeeze(0) if key == "num_batches_tracked" else value
        for key, child in site._modules.items():
            norm._modules[key] = child
    carry_state(site, norm)
    return norm


def _template(site: SplitBatchNorm) -> nn.Module:
    """The empty shell the site was made from."""
    if site.template is not None:
        return copy.copy(site.template)
    raise ValueError(
        f"site {site.name!r} was built by hand. Folding needs the class of the plain layer. "
        f"Build the model with plain norms and convert it by renorm.split_."
    )


def without_tensors(norm: nn.Module) -> nn.Module:
    """A shallow copy of a norm that keeps its class and settings but owns no tensor, child or hook."""
    shell = copy.copy(norm)
    for key in ("_parameters", "_buffers"):
        shell.__dict__[key] = dict.fromkeys(norm.__dict__[key])
    shell.__dict__["_modules"] = {}
    for key in HOOKS:
        shell.__dict__[key] = type(norm.__dict__[key])()
    return shell


def carry_state(old: nn.Module, new: nn.Module) -> None:
    """Carry mode and hooks over: hooks as the same dicts, so that a handle taken before still removes its hook."""
    new.training = old.training
    new._is_full_backward_hook = old._is_full_backward_hook
    for key in HOOKS:
        new.__dict__[key] = old.__dict__[key]
    hooks: Any = new._load_state_dict_pre_hooks
    for hook in hooks.values():
        if hook.with_module:
            hook.module = weakref.ref(new)


def repeated(tensor: Tensor, size: int) -> Tensor:
    """A flat tensor of ``size`` made of copies."""
    with torch.no_grad():
        return tensor.detach().reshape(-1).repeat(size // max(1, tensor.numel()))


def affine_of(site: SplitBatchNorm, branch: int) -> tuple[Tensor | None, Tensor | None]:
    """Scale and bias of a branch, ``(C,)``, detached: views of a split site's, merged ones of a sandwich."""
    some = next((p for p in (site.weight, site.bias) if p is not None), None)
    rows = slice(branch, branch + 1) if branch >= 0 or some is None else torch.tensor([branch], device=some.device)
    weight, bias = (None if t is None else t.detach().view(-1) for t in site.affine_of(rows))
    return weight, bias


def sources(module: nn.Module, key: str) -> tuple[int, ...]:
    """Identities of the parameters that one of a norm is, or of those it is merged from in a sandwich; none where it has none."""
    if module._parameters.get(key) is None:
        return ()
    merged = ("branch_weight", f"branch_{key}") if isinstance(module, SandwichBatchNorm) else ()
    return tuple(id(module._parameters.get(each)) for each in (key, *merged))


def row_of(flat: Tensor, rows: int, branch: int) -> Tensor:
    """The part of a flat tensor that belongs to a branch, all of it where it is shared."""
    return flat.view(rows, -1)[branch if rows > 1 else 0]
