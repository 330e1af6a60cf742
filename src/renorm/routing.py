"""Which branch each sample of the current batch belongs to.

All sites of a model share one :class:`Route`. It holds the branches' names and the :class:`Selection` that is open now,
so that nothing has to be passed through the model's own ``forward``.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.weak import WeakTensorKeyDictionary

Spec = str | Sequence[str] | Mapping[str, int] | Tensor
Labels = Tensor | str | int  # of samples; or one branch for all, by its name or index
UNKNOWN = -1  # the label of a sample of no branch; by name "unknown"
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@dataclass(frozen=True, eq=False)
class Selection:
    """A partition of the batch among branches.

    ``kind`` is ``whole``, ``interleaved``, ``blocks`` or ``labels``. Compiled code reads ``kind``, ``num_branches`` and
    ``index`` only: ``(K,)`` branches in their order for the first two kinds, ``(N,)`` branches of samples for the others.
    """

    kind: str
    branches: tuple[int, ...]
    sizes: tuple[int, ...]
    num_branches: int
    index: Tensor

    def same(self, other: Selection | None) -> bool:
        """Whether both divide a batch alike; labels are alike only as the same tensor (comparing values would wait for it)."""
        if other is None or self.kind != other.kind or self.branches != other.branches or self.sizes != other.sizes:
            return False
        return self.kind != "labels" or self.index is other.index

    def of_samples(self, num_samples: int, repeats: int, device: torch.device) -> Tensor:
        """The branch of each sample, ``(num_samples * repeats,)``, samples repeated in place."""
        index = self.index.to(device)
        if self.kind == "whole":
            index = index.expand(num_samples)
        elif self.kind == "interleaved":
            index = index[torch.arange(num_samples, device=device) % self.num_branches]
        return index if repeats == 1 else index.repeat_interleave(repeats)


class Visit(NamedTuple):
    """What one site does in one forward: the selection, how often each sample is repeated, and whether it is a rerun."""

    selection: Selection
    repeats: int
    recomputed: bool


class Route:
    """The branches of a model and the selection its sites follow. One object, held by every site.

    Args:
        branches: their names.
        unknown: whether samples may belong to no branch, which is then called ``"unknown"``; all sites must know what to do.
    """

    def __init__(self, branches: Sequence[str], unknown: bool = False) -> None:
        self.unknown = unknown
        self.branches = check_names(branches, unknown)
        self.first = Selection("whole", (0,), (), 1, torch.tensor([0]))
        self.open: Selection | None = None
        self.sticky: dict[bool, Selection | None] = {True: None, False: None}
        self.frozen = 0
        self.size: int | None = None
        self._last: tuple[Selection, int | None] | None = None  # of the newest forward that may be recomputed
        self._ambiguous = False
        self._rerun = False
        self._reopened: tuple[Selection, int | None] | None = None

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] | None = None) -> None:
        """Forward pre-hook of the model's root: remember how many samples this forward has, by its first argument."""
        first = args[0] if args else next(iter((kwargs or {}).values()), None)
        self.size = first.shape[0] if isinstance(first, Tensor) and first.ndim else None

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the model's root."""
        self.size = None

    def visit(self, num_samples: int, training: bool, site: str) -> Visit:
        """The selection a site that sees ``num_samples`` must follow now."""
        if torch.compiler.is_compiling() or torch._C._current_graph_task_id() == -1:
            selection = self.current(training, site)
            if not torch.compiler.is_compiling() and (training or torch.is_grad_enabled()):
                self._remember(selection)
            return Visit(selection, _repeats(selection, num_samples, self.size, site), False)
        selection, size = self._recall(training, site)
        return Visit(selection, _repeats(selection, num_samples, size, site), True)

    def told(self, labels: Labels, num_samples: int, site: str) -> Visit:
        """The selection of a site that is given labels in place of a route; they are checked once per tensor."""
        compiling = torch.compiler.is_compiling()
        if isinstance(labels, Tensor):
            selection = self._labels(labels, None, check=not compiling)
            if len(labels) != num_samples:
                raise ValueError(
                    f"site {site!r} got {num_samples} samples and {len(labels)} labels. Each sample needs one. Give the labels "
                    f"of this batch, or one branch for all of it."
                )
        else:
            selection = self.parse((self._named(labels),), None)
        again = not compiling and torch._C._current_graph_task_id() != -1
        return Visit(selection, 1, again)

    def current(self, training: bool, site: str = "") -> Selection:
        """The open selection, else the sticky one, else (in evaluation) the first branch."""
        if self.open is not None:
            return self.open
        sticky = self.sticky[training]
        if sticky is not None:
            return sticky
        if not training or len(self.branches) == 1:
            return self.first
        raise RuntimeError(
            f"site {site!r} runs in training mode without a route. Training needs to know the branch of every sample, "
            f"one of {list(self.branches)}. Call the model inside `with renorm.route(model, ...)`, "
            f"or set a lasting one by renorm.route_(model, train=..., eval=...)."
        )

    def parse(self, spec: tuple[Spec, ...], device: torch.device | None, check: bool = True) -> Selection:
        """Read the arguments of :func:`route`."""
        if len(spec) == 1 and not isinstance(spec[0], str):
            if isinstance(spec[0], Tensor):
                return self._labels(spec[0], device, check)
            if isinstance(spec[0], Mapping):
                return self._blocks(spec[0], device)
            spec = tuple(spec[0]) if isinstance(spec[0], Sequence) else spec
        if not spec or not all(isinstance(name, str) for name in spec):
            raise TypeError(
                f"route got {spec!r}. It needs branch names, a dict from names to block sizes, or a tensor (N,) of branch "
                f"indices. For example route(model, {self.branches[0]!r})."
            )
        rows = self.rows(spec)  # pyright: ignore[reportArgumentType]
        kind = "whole" if len(rows) == 1 else "interleaved"
        return Selection(kind, rows, (), len(rows), torch.tensor(rows, device=device))

    def rows(self, names: Sequence[str]) -> tuple[int, ...]:
        """Indices of branches by name."""
        if len(set(names)) != len(names):
            raise ValueError(f"branches {list(names)} name one twice. A route needs distinct branches. Name each once.")
        return tuple(self.row(name) for name in names)

    def row(self, name: str) -> int:
        """Index of a branch by name."""
        if name in self.branches:
            return self.branches.index(name)
        if self.unknown and name == "unknown":
            return UNKNOWN
        close = difflib.get_close_matches(name, self.branches, n=1)
        raise ValueError(
            f"{name!r} is not a branch of this model. Its branches are {shown(self.branches)}. "
            + (f"Did you mean {close[0]!r}?" if close else "Use one of them, or add it by renorm.add_branch_.")
        )

    def _named(self, label: str | int) -> str:
        """The branch of a whole batch, by its name or index."""
        if not isinstance(label, (str, int)) or isinstance(label, bool):
            raise TypeError(
                f"labels of type {type(label).__name__} were given. A site takes a tensor (N,) int64, or for the whole batch one "
                f"branch, its name or index. Convert them by torch.tensor(...)."
            )
        if isinstance(label, str):
            return label
        if not (UNKNOWN if self.unknown else 0) <= label < len(self.branches):
            raise ValueError(
                f"label {label} was given. The {len(self.branches)} branches {shown(self.branches)} are 0 to "
                f"{len(self.branches) - 1}. Map the label to a branch first."
            )
        return self.name_of(label)

    def name_of(self, row: int) -> str:
        """Name of a branch by index."""
        return "unknown" if row == UNKNOWN else self.branches[row]

    def _blocks(self, sizes: Mapping[str, int], device: torch.device | None) -> Selection:
        rows, counts = self.rows(tuple(sizes)), tuple(int(n) for n in sizes.values())
        if not rows or min(counts) < 0:
            raise ValueError(f"block sizes {dict(sizes)} were given. Each branch needs a size >= 0. Correct the sizes.")
        index = torch.tensor(
            [row for row, count in zip(rows, counts, strict=True) for _ in range(count)], dtype=torch.int64
        )
        return Selection("blocks", rows, counts, len(rows), index.to(device))

    def _labels(self, labels: Tensor, device: torch.device | None, check: bool) -> Selection:
        if labels.ndim != 1 or labels.dtype != torch.int64:
            raise TypeError(
                f"labels of shape {tuple(labels.shape)} and {labels.dtype} were given. A route by sample needs (N,) int64. "
                f"Flatten them and convert by .long()."
            )
        count = len(self.branches)
        low, high = _range(labels) if check and labels.numel() else (0, 0)
        if not (UNKNOWN if self.unknown else 0) <= low <= high < count:
            raise ValueError(
                f"labels between {low} and {high} were given. The {count} branches "
                f"{shown(self.branches)} are 0 to {count - 1}"
                + (", and -1 (unknown) has no affine of its own here. " if low == UNKNOWN else ". ")
                + "Map the labels to branches first."
            )
        return Selection("labels", tuple(range(count)), (), count, labels if device is None else labels.to(device))

    def _remember(self, selection: Selection) -> None:
        if self._rerun:
            self._last, self._ambiguous, self._rerun = None, False, False
        if self._last is not None and not (selection.same(self._last[0]) and self.size == self._last[1]):
            self._ambiguous = True
        self._last = (selection, self.size)

    def _recall(self, training: bool, site: str) -> tuple[Selection, int | None]:
        """The selection of the forward that is being recomputed, which the open one may differ from."""
        if self._reopened is not None:
            return self._reopened
        self._rerun = True
        last = self._last or (self.current(training, site), self.size)
        differs = self.open is not None and not self.open.same(last[0])
        if self._ambiguous or differs:
            raise RuntimeError(
                f"site {site!r} is recomputed by activation checkpointing, and the forwards since the last backward used "
                f"different routes. The recomputation needs the route its forward had. Call backward inside the `with` of "
                f"each forward, or give the checkpoint context_fn=renorm.routing.checkpoint_contexts(model)."
            )
        return last


_RANGES = (
    WeakTensorKeyDictionary()
)  # of labels that were checked: layers that are given the same tensor need not wait again


def _range(labels: Tensor) -> tuple[int, int]:
    """The smallest and the largest label, known to the host once per tensor and version of it."""
    version = None if labels.is_inference() else labels._version
    known = _RANGES.get(labels)
    if known is None or version is None or known[0] != version:
        low, high = torch.stack(torch.aminmax(labels)).tolist()
        _RANGES[labels] = known = (version, low, high)
    return known[1], known[2]


def shown(branches: Sequence[str]) -> str:
    """Names of branches for a text, of many the first and the last."""
    names = list(branches)
    return str(names) if len(names) <= 8 else f"[{names[0]!r}, {names[1]!r}, ... {names[-1]!r}]"


def check_names(branches: Sequence[str], unknown: bool = False) -> tuple[str, ...]:
    """Branch names as a tuple, or an error."""
    names = () if isinstance(branches, int) else tuple(branches)
    wrong = [name for name in names if not isinstance(name, str) or not name or "." in name or "@" in name]
    if isinstance(branches, str) or not names or wrong or len(set(names)) != len(names):
        raise ValueError(
            f"branches={branches!r} was given. Branches are a list of distinct names without '.' and '@'. "
            f'For example ["weak", "strong"].'
        )
    if unknown and "unknown" in names:
        raise ValueError(
            "a branch 'unknown' was given. That name is for samples of no branch, which have the shared affine alone. "
            "Choose another name, or refuse such samples by unknown='error'."
        )
    return names


def _repeats(selection: Selection, num_samples: int, batch: int | None, site: str) -> int:
    """How many rows of this site stand for each sample of the batch (of unknown size if None): time or patches folded into it."""
    kind, size = selection.kind, selection.index.shape[0]
    if kind == "whole":
        return 1
    if kind == "interleaved":
        size = num_samples if batch is None else batch
        if not torch.compiler.is_compiling() and size % selection.num_branches:
            raise ValueError(
                f"a batch of {size} cannot be interleaved over {selection.num_branches} branches (site {site!r}). "
                f"Interleaving needs a multiple of {selection.num_branches}. Set drop_last=True in the DataLoader, or route "
                f"blocks: route(model, {{name: size, ...}})."
            )
    if num_samples == size:
        return 1
    if size == 0 or num_samples % size or batch not in (None, size):
        raise ValueError(
            f"site {site!r} got {num_samples} samples where the route divides {size}"
            + (f", of a batch of {batch}. " if batch not in (None, size) else ". ")
            + "A route divides the whole batch, by sizes or labels; a site then sees as many samples, or a multiple "
            "(time or patches folded into the batch, sample by sample). Give the route the sizes of this batch."
        )
    return num_samples // size


def routes_of(model: nn.Module) -> list[Route]:
    """The distinct routes of a model's sites, usually one."""
    found = (vars(module).get("route") for module in model.modules())
    routes = {id(route): route for route in found if isinstance(route, Route)}
    if not routes:
        raise ValueError(
            f"{type(model).__name__} has no branched site. Routes need a model with branches. "
            f'Convert it first: renorm.split_(model, ["weak", "strong"]).'
        )
    return list(routes.values())


def route_of(model: nn.Module) -> Route | None:
    """The route of a model's sites, the first if there are several; None for a plain model."""
    found = (vars(module).get("route") for module in model.modules())
    return next((route for route in found if isinstance(route, Route)), None)


def _device_of(model: nn.Module) -> torch.device | None:
    return next((p.device for p in model.parameters()), None)


@contextmanager
def route(model: nn.Module, *spec: Spec, check: bool = True) -> Iterator[None]:
    """Route the forwards of the block: say which branch each sample of the batch belongs to.

    - ``route(model, "weak")``: the whole batch.
    - ``route(model, "weak", "strong")``: interleaved, sample i belongs to branch i mod 2 of those named, in their order.
    - ``route(model, {"weak": 96, "strong": 32})``: consecutive blocks, uneven or empty.
    - ``route(model, labels)``: ``(N,)`` int64, the branch index of each sample in the order of the model's branches.

    Where sites have something for samples of no branch, as a sandwich has its shared affine, these are called ``"unknown"`` and
    their label is -1.

    With activation checkpointing call ``backward`` inside the block, see :func:`checkpoint_contexts`.

    Args:
        check: validate labels on entering, which waits for the device; out-of-range labels go unnoticed otherwise.

    Raises:
        ValueError: a model without branches, an unknown branch, one named twice, labels out of range.
        TypeError: anything else than the four forms.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> with renorm.route(model, "weak", "strong"):
        ...     y = model(torch.randn(6, 3, 5, 5))
    """
    with ExitStack() as stack:
        device = _device_of(model)
        for each in routes_of(model):
            stack.enter_context(_opened(each, each.parse(spec, device, check)))
        yield


@contextmanager
def _opened(each: Route, selection: Selection) -> Iterator[None]:
    before, each.open, each.size = each.open, selection, None
    try:
        yield
    finally:
        each.open, each.size = before, None


class Lasting:
    """What :func:`route_` set; ``undo()`` puts the former routes back."""

    def __init__(self, former: list[tuple[Route, dict[bool, Selection | None]]], text: str) -> None:
        self._former, self._text = former, text

    def undo(self) -> None:
        """Put the former lasting routes back."""
        for each, sticky in self._former:
            each.sticky = sticky

    def __repr__(self) -> str:
        return self._text


def route_(model: nn.Module, *, train: Spec | None = None, eval: Spec | None = None, check: bool = True) -> Lasting:
    """Set a lasting route, for trainers that own the loop: one for training mode, one for evaluation mode.

    A ``with renorm.route(...)`` block has precedence. ``None`` leaves a mode as without a route.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> _ = renorm.split_(model, ["weak", "strong"])
        >>> renorm.route_(model, train=("weak", "strong"), eval="weak")
        training follows ('weak', 'strong'), evaluation 'weak'
    """
    device, former = _device_of(model), []
    parsed = []
    for each in routes_of(model):
        chosen = {
            mode: None if spec is None else each.parse((spec,), device, check)
            for mode, spec in ((True, train), (False, eval))
        }
        parsed.append((each, chosen))
    for each, chosen in parsed:
        former.append((each, each.sticky))
        each.sticky = chosen
    return Lasting(former, f"training follows {train!r}, evaluation {eval!r}")


@contextmanager
def frozen_statistics(model: nn.Module) -> Iterator[None]:
    """Forwards inside move no running statistics, of branched sites and plain norms alike.

    In training mode sites still normalize by the batch. Under activation checkpointing of plain norms call ``backward``
    inside the block as well: its recomputation would update them.

    Example:
        >>> norm = torch.nn.BatchNorm1d(3).train()
        >>> with renorm.frozen_statistics(norm):
        ...     _ = norm(torch.randn(4, 3))
        >>> norm.num_batches_tracked
        tensor(0)
    """
    modules = list(model.modules())
    routes = {id(r): r for r in (vars(m).get("route") for m in modules) if isinstance(r, Route)}
    plain = [m for m in modules if isinstance(m, _BatchNorm) and m.track_running_stats]
    others = [m for m in modules if not _honours_tracking(m)]
    try:
        for each in routes.values():
            each.frozen += 1
        for norm in plain:
            norm.track_running_stats = False  # PyTorch's own way to normalize by the batch and update nothing
        with borrowed_statistics(others):
            yield
    finally:
        for each in routes.values():
            each.frozen -= 1
        for norm in plain:
            norm.track_running_stats = True


def _honours_tracking(module: nn.Module) -> bool:
    """Whether the module obeys the flag of its class or of its route; others update a copy."""
    own = isinstance(vars(module).get("route"), Route)
    return own or type(module).forward in (_BatchNorm.forward, nn.SyncBatchNorm.forward)


@contextmanager
def borrowed_statistics(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Let modules update clones of their statistics, and drop the clones: backward still finds the originals untouched."""
    owned = [(m, k, b) for m in modules for k, b in m._buffers.items() if k in STATISTICS and b is not None]
    try:
        for module, key, buffer in owned:
            module._buffers[key] = buffer.clone()
        yield
    finally:
        for module, key, buffer in owned:
            module._buffers[key] = buffer


def checkpoint_contexts(model: nn.Module) -> Callable[[], tuple[AbstractContextManager, AbstractContextManager]]:
    """A ``context_fn`` for ``torch.utils.checkpoint.checkpoint(..., use_reentrant=False)``.

    It reopens, for the recomputation, the route that was open at the forward, wherever ``backward`` is called.
    """

    def contexts() -> tuple[AbstractContextManager, AbstractContextManager]:
        saved = [(each, (each.open, each.size)) for each in routes_of(model) if each.open is not None]
        return nullcontext(), _reopened(saved)

    return contexts


@contextmanager
def untraced(model: nn.Module) -> Iterator[None]:
    """Forwards inside, with their own backward, are forgotten by the recomputation of those outside."""
    saved = [(each, (each._last, each._ambiguous, each._rerun)) for each in routes_of(model)]
    try:
        for each, _ in saved:
            each._last, each._ambiguous, each._rerun = None, False, False
        yield
    finally:
        for each, former in saved:
            each._last, each._ambiguous, each._rerun = former


@contextmanager
def _reopened(saved: list[tuple[Route, tuple[Any, int | None]]]) -> Iterator[None]:
    former = [(each, each._reopened) for each, _ in saved]
    try:
        for each, state in saved:
            each._reopened = state
        yield
    finally:
        for each, state in former:
            each._reopened = state


class Stacked(NamedTuple):
    """One batch made of several views, and the argument by which :func:`route` finds them again."""

    x: Tensor
    route: tuple[str, ...] | dict[str, int]


def interleave(*views: Tensor) -> Tensor:
    """Views of equal shape as one batch in which sample i belongs to view i mod K. Shape: K of ``(N, *)`` to ``(K*N, *)``."""
    if len({view.shape for view in views}) != 1:
        shapes = [tuple(view.shape) for view in views]
        raise ValueError(
            f"views of shapes {shapes} were given. Interleaving needs equal shapes. Stack them as blocks instead."
        )
    return torch.stack(views, 1).flatten(0, 1)


def stack(views: Mapping[str, Tensor], memory_format: torch.memory_format = torch.contiguous_format) -> Stacked:
    """Views by branch as one batch in the order that is fastest to normalize, and its route.

    Contiguous views of equal size are interleaved (the batch seen as ``(N, K*C, *)`` is one native kernel); in
    channels_last, or where sizes differ, they are consecutive blocks (each a free slice).

    Example:
        >>> x, spec = renorm.stack({"weak": torch.zeros(2, 3), "strong": torch.ones(2, 3)})
        >>> spec, x[:, 0]
        (('weak', 'strong'), tensor([0., 1., 0., 1.]))
    """
    if not views:
        raise ValueError("no view was given. A batch needs at least one branch. Pass {'weak': x, ...}.")
    tensors = list(views.values())
    if memory_format == torch.contiguous_format and len({t.shape for t in tensors}) == 1:
        return Stacked(interleave(*tensors), tuple(views))
    x = torch.cat(tensors)
    if memory_format != torch.contiguous_format:
        x = x.contiguous(memory_format=memory_format)
    return Stacked(x, {name: len(t) for name, t in views.items()})


def unstack(y: Tensor, route: tuple[str, ...] | Mapping[str, int]) -> dict[str, Tensor]:
    """The parts of :func:`stack`'s batch, or of what a model made of it, by branch."""
    if isinstance(route, Mapping):
        return dict(zip(route, y.split(list(route.values())), strict=True))
    return dict(zip(route, y.unflatten(0, (-1, len(route))).unbind(1), strict=True))
