"""Modules in the place of others."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from torch import nn

from renorm.layers import Site
from renorm.routing import Route

Swap = Mapping[int, nn.Module]  # by the identity of what it takes the place of


def unwrapped(model: nn.Module) -> nn.Module:
    """The module whose norms can be exchanged: what a compiled model wraps; models wrapped or sharded are refused."""
    inner = getattr(model, "_orig_mod", model)
    for module in inner.modules():
        if isinstance(module, (nn.parallel.DistributedDataParallel, nn.DataParallel)) or is_fsdp(module):
            raise ValueError(
                f"a model wrapped in {type(module).__name__} was given. The wrapper has registered its parameters already. "
                f"Convert the inner model first, then wrap it."
            )
    refuse_sharded(inner, "Convert the model first, then shard it (fully_shard, parallelize_module).")
    return inner


def is_fsdp(module: nn.Module) -> bool:
    """Whether a module is the wrapper FullyShardedDataParallel, which nobody has who has not loaded it."""
    fsdp = sys.modules.get("torch.distributed.fsdp")
    return fsdp is not None and isinstance(module, fsdp.FullyShardedDataParallel)


def refuse_spread(model: nn.Module, use: str) -> None:
    """Refuse a model of whose parameters each rank has a part; ``use`` is what to do with the whole one.

    Raises:
        ValueError: it is such a model.
    """
    gather = (
        "Gather a full state dict (torch.distributed.checkpoint.state_dict.get_model_state_dict), load it into a model that was "
        f"made alike and not sharded, and {use}."
    )
    if any(is_fsdp(module) for module in model.modules()):
        raise ValueError(f"a model wrapped in FSDP was given. Each rank has a part of its parameters. {gather}")
    refuse_sharded(model, gather)


def refuse_sharded(model: nn.Module, remedy: str) -> None:
    """Refuse parameters that are spread over ranks, by ``fully_shard`` or tensor parallelism."""
    tensors = sys.modules.get("torch.distributed.tensor")
    for name, p in model.named_parameters():
        if tensors is not None and isinstance(p, tensors.DTensor):
            raise ValueError(
                f"a model with sharded parameters was given, {name!r} first. Each rank has a part of them. {remedy}"
            )


def swap_(root: nn.Module, new_of: Swap) -> None:
    """Put new children in the place of old ones wherever a parent holds them, so that a norm used twice stays one object."""
    for parent in list(root.modules()):
        for key, child in parent._modules.items():
            if child is not None and id(child) in new_of:
                parent._modules[key] = new_of[id(child)]


def unhook_(root: nn.Module) -> None:
    """Take a route's own hooks off the root of a model."""
    for hooks in (root._forward_pre_hooks, root._forward_hooks):
        for key, hook in list(hooks.items()):
            if isinstance(getattr(hook, "__self__", None), Route):
                del hooks[key]
                root._forward_pre_hooks_with_kwargs.pop(key, None)


def keep_tied(pairs: Sequence[tuple[nn.Module, nn.Module]]) -> None:
    """Parameters that several old modules shared stay one object in the new ones."""
    made: dict[tuple[object, ...], nn.Parameter] = {}
    for old, new in pairs:
        for key, own in new._parameters.items():
            sources = _sources(old, key.removeprefix("branch_"))
            if own is not None and sources:
                new._parameters[key] = made.setdefault((key, own.numel(), *sources), own)


def _sources(module: nn.Module, key: str) -> tuple[int, ...]:
    """Identities of the parameters that one of a norm is, or is made from in a site; none where it has none."""
    own = module._parameters.get(key)
    if isinstance(module, Site):
        return module.sources(key)
    return () if own is None else (id(own),)
