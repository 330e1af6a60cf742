"""One rule per class of norm: what a conversion makes of it, and how the plain layer comes back."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, NamedTuple

from torch import Generator, nn
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from renorm.layers import (
    HOOKS,
    BranchCopies,
    FlatSite,
    SandwichBatchNorm,
    SplitBatchNorm,
    Sync,
    called,
    carry_state,
    moves,
    quantized,
    repeated,
    scripted,
)
from renorm.routing import Route

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
FUSED = ("BatchNormAct2d", "SyncBatchNormAct")  # timm's, whose children are called after the norm in their order
TENSORS = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}
COMPILED = (
    "it is part of a scripted, traced or exported program. Convert the model it was made from, and make it again."
)
FROZEN = ("FrozenBatchNorm2d", "FrozenBatchNormAct2d")  # torchvision's and timm's: statistics that are constants


class NormRule(NamedTuple):
    """What to do with a module: ``split``, ``copy``, ``leave`` (with the reason) or ``pass`` (no norm with statistics)."""

    action: str
    reason: str = ""


def rule_for(module: nn.Module) -> NormRule:
    """The rule of a module, by its exact class; of a class that nobody knows, by what it does."""
    kind = type(module)
    if scripted(module):
        return (
            NormRule("refuse", COMPILED)
            if "running_mean" in dict(module.named_buffers(recurse=False))
            else NormRule("pass")
        )
    if isinstance(module, _LazyNormBase):  # one that has seen a batch has become its plain class
        return NormRule("refuse", "it is lazy and has no channels yet. Run one batch through the model first.")
    fused = kind.__name__ in FUSED and kind.__module__.startswith("timm.")
    if kind in PLAIN or fused:
        return _rule_for_known(module, TENSORS | {"drop", "act"} if fused else TENSORS)
    if kind.__name__ in FROZEN:
        return NormRule("leave", "its statistics are frozen constants")
    if quantized(module):
        return NormRule("refuse", "it is quantized. Convert the model in floating point, and quantize a folded one.")
    if isinstance(module, _BatchNorm) or module._buffers.get("running_mean") is not None:
        return NormRule("copy") if called(module) else NormRule("refuse", COMPILED)
    moved = moves(module)
    if moved is None:
        return NormRule("leave", "it may be a norm of a kind that could not be tried, and branches share it")
    return NormRule("copy") if moved else NormRule("pass")


def _rule_for_known(norm: nn.Module, parts: set[str]) -> NormRule:
    """A norm of a known class, unless something was added to it."""
    own = {*norm._parameters, *norm._buffers, *norm._modules}
    if not norm._parameters.keys() >= {"weight", "bias"}:
        made = sorted(norm._parameters.keys() - parts)
        return NormRule(
            "refuse", f"its weights are made by hooks from {made}. Make them permanent first (prune.remove, ...)."
        )
    return NormRule("split" if own <= parts else "copy")


def split(
    norm: Any,
    route: Route,
    share: Iterable[str],
    sync: Sync,
    init: str = "identity",
    generator: Generator | None = None,
) -> SplitBatchNorm:
    """A :class:`SplitBatchNorm` in place of a norm: every branch starts as a copy of it; children and hooks are its own."""
    site = SplitBatchNorm(*_settings(norm, route), share=share, sync=_sync(norm, sync), route=route, device="meta")
    _filled(site, norm)
    if init != "identity":
        site.initialize_(init, generator)
    return site


def sandwich(
    norm: Any, route: Route, share: Iterable[str], sync: Sync, init: str, generator: Generator | None
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


def _sync(norm: nn.Module, sync: Sync) -> Sync:
    if sync is None and isinstance(norm, nn.SyncBatchNorm):
        return "world" if norm.process_group is None else norm.process_group
    return sync


def _filled(site: FlatSite, norm: nn.Module) -> None:
    """Give the site the norm's tensors, repeated for each branch where it has its own; its children, mode and hooks."""
    for tensors, given in ((site._parameters, norm._parameters), (site._buffers, norm._buffers)):
        for key in tensors:
            if key in given:
                tensors[key] = _branched(given[key], len(site.branches) if site.branched(key) else 1)
    for key, child in norm._modules.items():
        site.add_module(key, child)
    vars(site)["template"] = without_tensors(norm)  # not setattr, which would register it as a child
    carry_state(norm, site)


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


def without_tensors(norm: nn.Module) -> nn.Module:
    """A shallow copy of a norm that keeps its class and settings but owns no tensor, child or hook."""
    shell = copy.copy(norm)
    for key in ("_parameters", "_buffers"):
        shell.__dict__[key] = dict.fromkeys(norm.__dict__[key])
    shell.__dict__["_modules"] = {}
    for key in HOOKS:
        shell.__dict__[key] = type(norm.__dict__[key])()
    return shell
