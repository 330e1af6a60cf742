"""Calling a model to observe its sites, leaving it as it was."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._pytree import tree_leaves, tree_map_only

from renorm.banks.batched import batched
from renorm.banks.counting import Counted
from renorm.banks.sites import Branch, SiteTensors, branch_at, check_called, named_sites, unwrap
from renorm.layers import Site, borrowed_buffers
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
    Other modules that learn in evaluation, as observers of a quantization do, learn nothing.
    """
    check_called(targets)
    handles = []
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(following(model, branch))
        try:
            for name, site in targets.items():
                hook = Hook(name, site, batched(observer))
                handles.append(site.module.register_forward_pre_hook(hook, with_kwargs=True))
            stack.enter_context(evaluating(model))
            stack.enter_context(borrowed_buffers(_learning(model, targets)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _learning(model: nn.Module, targets: Mapping[str, SiteTensors]) -> list[nn.Module]:
    """Modules whose buffers a forward in evaluation may move: all but sites and other batch norms."""
    sites = {id(site.module) for site in targets.values()}
    return [m for m in model.modules() if m._buffers and id(m) not in sites and not isinstance(m, (Site, _BatchNorm))]


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


class Hook:
    """Calls an observer before a site's forward. In a copy of the model it does nothing, as no block ends there."""

    def __init__(self, name: str, site: SiteTensors | None, observer: Observer) -> None:
        self.name, self.site, self.observer, self._owner = name, site, observer, threading.get_ident()

    def __reduce__(self) -> Any:
        return Hook, (self.name, None, nothing)

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if self.site is None:
            return
        if threading.get_ident() != self._owner:
            raise RuntimeError(
                f"site {self.name!r} was called by one thread while another measures or adapts the model. Its features would be "
                f"counted among the other's. Call the model afterwards, or give each thread a copy by copy.deepcopy."
            )
        self.observer(self.name, self.site, args[0] if args else next(iter(kwargs.values())))


def call(model: nn.Module, batch: Any, forward: Forward | None) -> Any:
    """The model's output on a batch, moved to the model's device.

    A tensor is the input; of a tuple or list the first entry; a mapping is passed by keywords.
    """
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    batch = batch.batch if isinstance(batch, Counted) else batch
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
            f"input, and the others would be ignored. Pass one of them, or forward= that uses all: for a model that takes a "
            f"list, forward=lambda model, batch: model(batch)."
        )
    return inner(batch if isinstance(batch, Tensor) else batch[0])


def _alike(a: Any, b: Any) -> bool:
    if not (isinstance(a, Tensor) and isinstance(b, Tensor)):
        return False
    return a.ndim > 2 and (a.shape == b.shape or (a.ndim == b.ndim == 3 and len(a) == len(b)))  # images of any size


def nothing(name: str, site: SiteTensors, x: Tensor) -> None:
    """Observe nothing: the model normalizes by what it has."""


def unreached(
    targets: Mapping[str, SiteTensors],
    seen: Collection[str],
    strict: bool = False,
    single: Collection[str] = (),
    apart: Collection[str] = (),
) -> tuple[str, ...]:
    """The sites that the forwards left out, or gave a single value per channel to, or rows of unknown samples.

    Raises:
        ValueError: all of them, or any where ``strict``.
    """
    missing = tuple(name for name in targets if name not in seen)
    if not missing or not (strict or len(missing) == len(targets)):
        return missing
    leave = "; or leave strict out." if len(missing) < len(targets) else "."
    if pooled := [name for name in missing if name in single]:
        raise ValueError(
            f"site {pooled[0]!r} got a single value per channel. A variance needs at least two. Give more or larger images, or "
            f"prior=float('inf'){leave}"
        )
    if regions := [name for name in missing if name in apart]:
        raise ValueError(
            f"site {regions[0]!r} got other rows than one for each image. Which are of which image is not guessed. Say it: "
            f"folded='sample' or 'time', and samples= where the batch does not tell how many images it has{leave}"
        )
    raise ValueError(
        f"{len(missing)} of {len(targets)} sites were not reached by the images, {missing[0]!r} first. They would keep the "
        f"statistics they have. Call the model as a whole, or pass forward= that does{leave}"
    )


def without(
    missing: Sequence[str], single: Sequence[str] = (), apart: Sequence[str] = (), others: Sequence[str] = ()
) -> str:
    """What a report says of sites that keep what they have, and why."""
    lost = [name for name in missing if name not in {*single, *apart}]
    kinds = (
        ("that nothing reached", lost),
        ("with a single value per channel", single),
        ("whose rows are of unknown images", apart),
        ("with statistics of another kind", others),
    )
    return "".join(
        f", without {len(names)} {why} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
        for why, names in kinds
        if names
    )
