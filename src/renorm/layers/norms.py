"""What a norm is where neither a class nor an attribute says it: who moves statistics of batches, and who reads them."""

from __future__ import annotations

import copy
import inspect
import weakref
from collections.abc import Iterator, Mapping
from types import CodeType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.parametrize import ParametrizationList

from renorm.layers.site import HOOKS, Site, running

READ = {"running_mean", "running_var"}
SHAPES = ((5, 7), (), (7,), (3, 5, 7))  # of positions


def scripted(module: nn.Module) -> bool:
    """Whether a module is compiled code of TorchScript, whose hooks and tensors are not Python's."""
    return isinstance(module, torch.jit.ScriptModule)


def quantized(module: nn.Module) -> bool:
    """Whether a module is one of PyTorch's that compute with integers."""
    of = type(module).__module__
    return of.startswith("torch.") and ".quantized." in of


def called(module: nn.Module) -> bool:
    """Whether a module computes anything; in the graph of an exported program it only holds tensors, which the graph reads."""
    return type(module).forward is not nn.Module.forward


def moving(model: nn.Module) -> dict[str, nn.Module]:
    """Modules by name that are norms by what they do: see :func:`moves`."""
    inside = {id(m) for p in model.modules() if isinstance(p, ParametrizationList) for m in p.modules()}
    return {name: m for name, m in model.named_modules() if id(m) not in inside and moves(m)}


_MOVES: weakref.WeakKeyDictionary[nn.Module, bool | None] = weakref.WeakKeyDictionary()


def moves(module: nn.Module) -> bool | None:
    """Whether a module of a class that nobody knows is a norm: its buffers, one number per channel, are moved by its forward in
    training and not in evaluation. A copy of it is tried on random features, once.

    Returns:
        ``None`` where it asks for the mode and has such buffers, but no features suit it.
    """
    buffers = _per_channel(module)
    if buffers is None:
        return False
    if module not in _MOVES:
        _MOVES[module] = _tried(module, buffers)
    return _MOVES[module]


def _per_channel(module: nn.Module) -> Tensor | None:
    """A buffer of a module that may be a norm of another kind; none where it is none."""
    own = type(module)
    if (
        own.__module__.startswith("torch.")
        or isinstance(module, (Site, _BatchNorm))
        or scripted(module)
        or running(module)
    ):
        return None
    buffers = [b for b in module._buffers.values() if b is not None and b.is_floating_point() and b.numel() > 1]
    if len({b.numel() for b in buffers}) != 1 or any(b.squeeze().ndim != 1 for b in buffers):
        return None
    inner = [m for m in module.modules() if m is not module and m._parameters]
    return None if inner or not _names_of(own) & {"training"} else buffers[0]


def _tried(module: nn.Module, buffer: Tensor) -> bool | None:
    if buffer.is_meta:
        return None
    generator, made = torch.Generator().manual_seed(0), copy.deepcopy(module)
    for each in made.modules():
        for key in HOOKS:
            getattr(each, key).clear()
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for shape in SHAPES:
            x = 2 + torch.randn(6, buffer.numel(), *shape, generator=generator).to(buffer)
            try:
                return _moved(made.train(), x) and not _moved(made.eval(), x)
            except Exception:
                continue
    return None


def _moved(module: nn.Module, x: Tensor) -> bool:
    before = {key: b.clone() for key, b in module._buffers.items() if b is not None}
    module(x)
    return any(not torch.equal(b, module.get_buffer(key)) for key, b in before.items() if b.is_floating_point())


def read_by_parents(model: nn.Module, norms: Mapping[str, nn.Module]) -> dict[str, str]:
    """Norms by name whose running statistics the forward of a module around them reads, as in quantization-aware training, with
    that module's class: what it reads is not what a hook on the norm decides.
    """
    own = {type(norm) for norm in norms.values()}
    if not any(_names_of(kind) & READ for kind in {type(m) for m in model.modules()} - own):
        return {}  # which is soon known
    return {name: type(parent).__name__ for name, parent in _around(model, norms) if _names_of(type(parent)) & READ}


def read_by_methods(model: nn.Module, norms: Mapping[str, nn.Module]) -> list[str]:
    """Classes around norms that read running statistics in another method than forward, as to merge them into convolutions."""
    kinds = {type(parent) for _, parent in _around(model, norms)}
    own = ((kind, vars(base)) for kind in kinds for base in kind.__mro__ if not base.__module__.startswith("torch."))
    found = {kind.__name__ for kind, methods in own for m in methods.values() if _code(m) and _names(_code(m)) & READ}
    return sorted(found - set(read_by_parents(model, norms).values()))


def _around(model: nn.Module, norms: Mapping[str, nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Names of norms, each with every module that it is in."""
    known = {id(norm) for norm in norms.values()}
    modules = dict(model.named_modules())
    for name in norms:
        parts = name.split(".")
        for depth in range(len(parts)):
            parent = modules.get(".".join(parts[:depth]))
            if parent is not None and id(parent) not in known and not isinstance(parent, Site):
                yield name, parent


_NAMES: weakref.WeakKeyDictionary[type, frozenset[str]] = weakref.WeakKeyDictionary()


def _names_of(kind: type) -> frozenset[str]:
    """Every name in the forward of a class, and in the methods of the class that it names."""
    if kind not in _NAMES:
        found, todo = set[str](), ["forward"]
        while todo:
            new = _names_in(kind, todo.pop()) - found
            found |= new
            todo += [name for name in new if not hasattr(nn.Module, name)]
        _NAMES[kind] = frozenset(found)
    return _NAMES[kind]


def _names_in(kind: type, method: str) -> set[str]:
    """Names in a method of a class, and in those of its bases that it calls by ``super``."""
    found = set[str]()
    for base in kind.__mro__:
        if base is not nn.Module and method in vars(base):
            found |= _names(_code(vars(base)[method]))
            if "super" not in found:
                break
    return found


def _code(function: Any) -> CodeType | None:
    function = getattr(function, "__func__", function)
    return getattr(inspect.unwrap(function), "__code__", None) if callable(function) else None


def _names(code: CodeType | None) -> set[str]:
    if code is None:
        return set()
    return {*code.co_names}.union(*(_names(inner) for inner in code.co_consts if isinstance(inner, CodeType)))
