"""Calling a model to observe its sites, leaving it as it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from renorm.banks.batched import batched
from renorm.banks.sites import Branch, SiteTensors, branch_at, named_sites, unwrap
from renorm.routing import through

Forward = Callable[[nn.Module, Any], Any]
Observer = Callable[[str, SiteTensors, Tensor], None]


@contextmanager
def observed(
    model: nn.Module, targets: Mapping[str, SiteTensors], branch: Branch, observer: Observer
) -> Iterator[None]:
    """Run ``observer(name, site, x)`` before every forward of a site, in evaluation mode and without gradients.

    In evaluation a site normalizes by its running statistics, so an observer that fills them decides what it normalizes by:
    that works for any class of norm, fused or unknown. Modes are given back; dropout stays off; compiled code runs eagerly.
    """
    handles = []
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(following(model, branch))
        try:
            for name, site in targets.items():
                hook = _hook(name, site, batched(observer))
                handles.append(site.module.register_forward_pre_hook(hook, with_kwargs=True))
            stack.enter_context(evaluating(model))
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def following(model: nn.Module, branch: Branch) -> Iterator[None]:
    """Forwards inside follow a branch, or the one of each site; without any, the route that is open or lasting."""
    if branch is None:
        yield
        return
    if isinstance(branch, str):
        with through(model, branch):
            yield
        return
    handles = []
    try:
        for name, site in named_sites(model).items():
            turn = Turn(branch_at(name, branch))
            handles += [
                site.register_forward_pre_hook(turn.begin),
                site.register_forward_hook(turn.end, always_call=True),
            ]
        yield
    finally:
        for handle in handles:
            handle.remove()


class Turn:
    """Opens a branch's route while one site runs. In a copy of the model it does nothing, as no block ends there."""

    def __init__(self, branch: str) -> None:
        self.branch, self._open = branch, ExitStack()

    def __reduce__(self) -> Any:
        return Turn, ("",)

    def begin(self, site: nn.Module, args: Any) -> None:
        """Before the site's forward."""
        if self.branch:
            self._open.enter_context(through(site, self.branch))

    def end(self, site: nn.Module, args: Any, output: Any) -> None:
        """After it, be it by an error."""
        self._open.close()


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode for the block, each in its own mode again at its end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        for module, _ in modes:
            module.training = False
        yield
    finally:
        for module, training in modes:
            module.training = training


def _hook(name: str, site: SiteTensors, observer: Observer) -> Callable[..., None]:
    owner = threading.get_ident()

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if threading.get_ident() != owner:
            raise RuntimeError(
                f"site {name!r} was called by one thread while another measures or adapts the model. Its features would be "
                f"counted among the other's. Call the model afterwards, or give each thread a copy by copy.deepcopy."
            )
        observer(name, site, args[0] if args else next(iter(kwargs.values())))

    return hook


def num_samples(batch: Any) -> int:
    """How many samples a batch has: the length of its first tensor."""
    leaves = tree_leaves(dict(batch) if isinstance(batch, Mapping) else batch)
    first = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), None)
    if first is None:
        raise TypeError(
            f"a batch of type {type(batch).__name__} without tensors was given. A batch is a tensor, a tuple whose first entry "
            f"is the input, or a dict of keyword arguments. Make it one of these, and pass forward= if the model needs another."
        )
    return len(first)


def call(model: nn.Module, batch: Any, forward: Forward | None) -> Any:
    """The model's output on a batch, moved to the model's device.

    A tensor is the input; of a tuple or list the first entry; a mapping is passed by keywords.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batch = dict(batch) if isinstance(batch, Mapping) else batch
    batch = tree_map_only(Tensor, lambda t: t.to(device), batch)
    try:
        return forward(model, batch) if forward is not None else _called(unwrap(model), batch)
    except RuntimeError as error:
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.uint8 for leaf in tree_leaves(batch)):
            raise TypeError(
                "a batch of bytes (torch.uint8) was given, and the model cannot take it. It needs what it was trained on: "
                "normalized floats. Convert the images as in training, for instance (images / 255 - mean) / std."
            ) from error
        raise


def _called(inner: nn.Module, batch: Any) -> Any:
    if isinstance(batch, dict):
        return inner(**batch)
    if not isinstance(batch, Tensor) and len(batch) > 1 and _alike(batch[0], batch[1]):
        raise TypeError(
            f"a batch with several inputs of shape {tuple(batch[0].shape)} was given. Of a tuple or list the first entry is the "
            f"input, and the others would be ignored. Pass one of them, or forward= that uses all."
        )
    return inner(batch if isinstance(batch, Tensor) else batch[0])


def _alike(a: Any, b: Any) -> bool:
    return isinstance(a, Tensor) and isinstance(b, Tensor) and a.ndim > 2 and a.shape == b.shape


def nothing(name: str, site: SiteTensors, x: Tensor) -> None:
    """Observe nothing: the model normalizes by what it has."""


def unreached(targets: Mapping[str, SiteTensors], seen: Collection[str], strict: bool = False) -> tuple[str, ...]:
    """The sites that the forwards left out.

    Raises:
        ValueError: all of them, or any where ``strict``.
    """
    missing = tuple(name for name in targets if name not in seen)
    if missing and (strict or len(missing) == len(targets)):
        raise ValueError(
            f"{len(missing)} of {len(targets)} sites were not reached by the images, {missing[0]!r} first. They would keep the "
            f"statistics they have. Call the model as a whole, or pass forward= that does"
            + ("; or leave strict out." if len(missing) < len(targets) else ".")
        )
    return missing


def without(missing: Sequence[str]) -> str:
    """What a report says of sites that the forwards left out."""
    names = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
    return f", without {len(missing)} that nothing reached ({names})" if missing else ""
