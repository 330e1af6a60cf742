"""One rule per class of norm: what a conversion makes of it, and how the plain layer comes back."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Iterable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from renorm.layers import BranchCopies, SplitBatchNorm
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
    if sync is None and isinstance(norm, nn.SyncBatchNorm):
        sync = "world" if norm.process_group is None else norm.process_group
    site = SplitBatchNorm(
        norm.num_features,
        route.branches,
        norm.eps,
        norm.momentum,
        norm.affine,
        norm.track_running_stats,
        share=share,
        sync=sync,
        route=route,
        device="meta",
    )
    for key in ("weight", "bias"):
        site._parameters[key] = _branched(norm._parameters[key], site.num_rows)
    for key in site._buffers:
        site._buffers[key] = _branched(norm._buffers[key], site.num_populations)
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
        for key in ("weight", "bias"):
            own = site._parameters[key]
            if own is not None:
                value = row_of(own, site.num_rows, branch).detach().clone()
                norm._parameters[key] = nn.Parameter(value, requires_grad=own.requires_grad)
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


def row_of(flat: Tensor, rows: int, branch: int) -> Tensor:
    """The part of a flat tensor that belongs to a branch, all of it where it is shared."""
    return flat.view(rows, -1)[branch if rows > 1 else 0]
