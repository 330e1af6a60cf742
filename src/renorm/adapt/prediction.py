"""Normalizing every batch by its own statistics, without changing the model."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from renorm.banks import (
    Branch,
    SiteTensors,
    Statistics,
    check_all_finite,
    check_called,
    counted,
    exclusive,
    following,
    resolve,
    site_tensors,
    source_weight,
    unwrap,
)
from renorm.functional import Moments, at_least_float32, branch_norm, positions
from renorm.layers import Site
from renorm.routing import RowOrder, Visit, order_of, route_of


@contextmanager
def prediction_time(
    model: nn.Module,
    prior: float = 0,
    *,
    per_image: bool = False,
    branch: Branch = None,
    samples: int | None = None,
    folded: str | None = None,
) -> Iterator[None]:
    r"""Evaluation forwards inside the block normalize by their own batch, blended with the source statistics.

    .. math:: \mu = s \mu_{source} + (1 - s) \mu_{batch}, \qquad \sigma^2 = s \sigma^2_{source} + (1 - s) \sigma^2_{batch},
        \qquad s = \frac{\text{prior}}{\text{prior} + n}

    for a batch of n samples, with its biased variance as in training. Each site gets its input moved such that normalizing
    by the source gives this. Nothing in the model is written, not even for a while; dropout stays off; gradients flow through
    the batch's statistics, as in training.

    Under a route each branch is normalized by its own samples of the batch, and blended with its own source. The batch is what
    the outermost call of the model is given first, if that is a tensor. Compiled models run eagerly inside. Under activation
    checkpointing call ``backward`` inside the block.

    Reduces to: the source bit for bit for ``prior=inf``; batch normalization in training for ``prior=0``.

    Args:
        prior: how many samples the source is worth; 0 is the batch alone.
        per_image: each image by its own statistics (n = 1), whatever else is in the batch; published with ``prior=16``.
        branch: the route of the block's forwards; by default they follow the one that is open or lasting, as ever.
        samples: how many samples a batch has, where it is a list or a dict, or another method than ``forward`` is called. A prior
            needs it, and ``per_image``.
        folded: the order of rows where sites see several for each sample, as in :func:`renorm.route`. ``per_image`` needs it.

    Raises:
        ValueError: a model without running statistics, a negative prior, one value per channel for ``prior=0``, a number of
            samples or an order of rows that is needed and not known.
        RuntimeError: a site in training mode, statistics measured or changed inside the block, another thread at the model.

    Reference: Nado et al., *Evaluating prediction-time batch normalization for robustness under covariate shift*, 2020;
    Schneider et al., 2020, for the prior and for one image.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
        >>> with renorm.prediction_time(model):
        ...     y = model(torch.randn(8, 3, 5, 5) + 3)
        >>> y.mean().abs() < 1e-5
        tensor(True)
    """
    source_weight(prior, 1)
    branch = None if branch is None else resolve(model, branch)
    batch = BatchSize(_told(samples), order_of(folded))
    handles = []
    with ExitStack() as stack:
        stack.enter_context(exclusive(model, closed="renorm.prediction_time"))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(following(model, branch))
        try:
            sites = _sites(model)
            handles += batch.watch(unwrap(model))
            for name, site in sites:
                hook = ByBatch(name, float(prior), per_image, batch, site)
                if hook.around is not None:
                    handles.append(hook.around.register_forward_pre_hook(batch.enter, with_kwargs=True))
                handles.append(site.module.register_forward_pre_hook(hook, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _told(samples: int | None) -> int | None:
    return None if samples is None else counted((), samples).samples


class BatchSize:
    """How many samples the batch of the forward that runs now has, as far as that is known.

    Args:
        told: how many every batch has, where the user said so.
        order: of rows where a site sees several for each sample.
    """

    def __init__(self, told: int | None, order: RowOrder | None) -> None:
        self.told, self.order = told, order
        self._sizes: dict[int, int] = {}  # of the forward that each thread runs
        self._rows: dict[tuple[int, int], int] = {}  # likewise, of sites that deal them out to copies

    def __reduce__(self) -> Any:
        return BatchSize, (self.told, self.order)

    def watch(self, model: nn.Module) -> list[RemovableHandle]:
        """Learn it from calls of a model, by hooks."""
        return [
            model.register_forward_pre_hook(self._begin, with_kwargs=True),
            model.register_forward_hook(self._end, always_call=True),
        ]

    def _begin(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        first = args[0] if args else next(iter(kwargs.values()), None)
        if isinstance(first, Tensor) and first.ndim:
            self._sizes[threading.get_ident()] = len(first)

    def _end(self, model: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        self._sizes.pop(threading.get_ident(), None)

    def enter(self, site: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of a site that deals its rows out to copies of a norm."""
        self._rows[threading.get_ident(), id(site)] = len(args[0] if args else next(iter(kwargs.values())))

    def rows(self, site: nn.Module) -> int:
        """How many rows such a site has now."""
        return self._rows[threading.get_ident(), id(site)]

    def samples(self, rows: int, site: str) -> int:
        """How many there are, for a site that sees so many rows.

        Raises:
            ValueError: that is not known.
        """
        size = self._sizes.get(threading.get_ident()) if self.told is None else self.told
        if not size:
            raise ValueError(
                f"site {site!r} got {rows} rows, and the number of samples is not known: the model was called with something "
                f"else than a tensor, or in part. A prior counts samples, and per_image tells them apart. Say how many: "
                f"samples=N."
            )
        return size

    def images(self, rows: int, site: str, device: torch.device) -> tuple[Tensor, Tensor]:
        """The sample of each row, and the first row of each sample.

        Raises:
            ValueError: that is not known.
        """
        size = self.samples(rows, site)
        times, rest = divmod(rows, size)
        if rest or (times > 1 and size > 1 and self.order is None):
            raise ValueError(
                f"site {site!r} got {rows} rows in a batch of {size} samples. Which belong to which sample is not guessed. "
                f"Say it: folded='sample' where those of a sample follow each other, 'time' where whole batches do; regions need "
                f"per_image=False."
            )
        each = torch.arange(size, device=device)
        if self.order == "time":
            return each.repeat(times), each
        return each.repeat_interleave(times), each * times


class ByBatch:
    """Forward pre-hook of a site, which moves its input. In a copy of the model it does nothing, as no block ends there."""

    def __init__(self, name: str, prior: float, per_image: bool, batch: BatchSize, site: SiteTensors) -> None:
        self.name, self.prior, self.per_image, self.batch, self.copied = name, prior, per_image, batch, False
        self.around = None if site.site is site.module else site.site  # which deals rows out to copies of a norm

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "copied": True}

    def __call__(
        self, site: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        if self.copied:
            return None
        if site.training:
            raise RuntimeError(
                f"site {self.name!r} is in training mode inside renorm.prediction_time. Training normalizes by the batch anyway "
                f"and moves the statistics. Call model.eval() first, or train outside the block."
            )
        key = None if args else next(iter(kwargs))
        x = args[0] if key is None else kwargs[key]
        if math.isinf(self.prior) or not x.numel():
            return None
        y = self._moved(site, x, args[1] if len(args) > 1 else kwargs.get("labels"))
        return ((y, *args[1:]), kwargs) if key is None else (args, {**kwargs, key: y})

    def _moved(self, site: nn.Module, x: Tensor, labels: Tensor | None) -> Tensor:
        mean, var, population, sizes = _source(site, x, labels)
        count, whole = len(mean), len(x) if self.around is None else self.batch.rows(self.around)
        if self.per_image:
            own, first = self._images(len(x), whole, x.device)
            mean, var = (t if population is None else t[population[first]] for t in (mean, var))
            population, sizes, count = own, [len(own) // len(first)], len(first)
        if self.prior == 0 and 1 in [size * positions(x) for size in sizes]:
            raise ValueError(
                f"site {self.name!r} got a single value per channel, input {tuple(x.shape)}. The batch alone needs at least two. "
                f"Give more images (larger ones do not help behind a global pooling), or a prior, such as 16."
            )
        rows = whole / self.batch.samples(whole, self.name) if self.prior else 1.0
        how: Any = {"population": population, "num_populations": count, "rows": rows}
        return moved(x, mean, var, self.prior, **how, eps=float(site.eps))  # pyright: ignore[reportArgumentType]

    def _images(self, n: int, whole: int, device: torch.device) -> tuple[Tensor, Tensor]:
        own, first = self.batch.images(whole, self.name, device)
        if n == whole:
            return own, first
        if len(first) < whole:
            raise ValueError(
                f"site {self.name!r} has several rows for each sample, and deals them out to copies of a norm. Which are of "
                f"which sample is lost there. Give per_image=True batches of one branch, by branch=."
            )
        return own[:n], first[:n]


def _sites(model: nn.Module) -> list[tuple[str, SiteTensors]]:
    """All modules that hold statistics, of all branches, checked."""
    route = route_of(unwrap(model))
    found: dict[int, tuple[str, SiteTensors]] = {}
    for branch in (None,) if route is None else route.branches:
        targets = site_tensors(model, branch)
        check_called(targets)
        check_all_finite({name: Statistics(site.mean, site.var) for name, site in targets.items()})
        found |= {id(site.module): (name, site) for name, site in targets.items()}
    for name, site in found.values():
        if not isinstance(getattr(site.module, "eps", None), float | int):
            raise ValueError(
                f"site {name!r} is a {type(site.module).__name__} without eps. Normalizing by the batch needs it, to undo what "
                f"the site does by its own statistics. Give the module an attribute eps, or use renorm.adapt_."
            )
    return list(found.values())


def moved(
    x: Tensor,
    mean: Tensor,
    var: Tensor,
    prior: float,
    *,
    population: Tensor | None = None,
    num_populations: int = 1,
    rows: float = 1.0,
    eps: float = 1e-5,
) -> Tensor:
    r"""Features that are, normalized by the source, what the given ones are by their populations blended with it.

    .. math:: \sqrt{\frac{\sigma^2_{source} + \epsilon}{\sigma^2 + \epsilon}} \, (x - \mu) + \mu_{source}

    Shape: x ``(N, C, *)``, the source's mean and variance ``(1, C)`` or by population ``(K, C)``; the result like x.

    Args:
        prior: how many samples the source is worth in the blend.
        population: ``(N,)`` int64, the population of each row; ``None`` is one population.
        rows: how many rows each sample has.
    """
    dtype = at_least_float32(x[:0]).dtype
    mean, var = mean.detach().to(dtype), var.detach().to(dtype)

    def blend(batch: Moments) -> Moments:
        samples = torch.as_tensor(batch.count, dtype=dtype, device=x.device) / (positions(x) * rows)
        s = prior / (prior + samples).clamp(min=1)
        return Moments(torch.lerp(batch.mean, mean, s), torch.lerp(batch.var, var, s), batch.count)

    row = population if len(mean) > 1 else None
    return branch_norm(
        x,
        (var + eps).sqrt(),
        mean,
        population=population,
        num_populations=num_populations,
        row=row,
        eps=eps,
        merge_ranks=blend,
    )[0]


def _source(site: nn.Module, x: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None, list[int]]:
    """The source's mean and variance by population, the population of each sample, and how many each has."""
    mean, var = (site.get_buffer(key).view(-1, x.shape[1]) for key in ("running_mean", "running_var"))
    if len(mean) == 1:
        return mean, var, None, [len(x)]
    assert isinstance(site, Site)
    own = site.route
    visit = own.visit(len(x), False, site.name) if labels is None else own.told(labels, len(x), site.name)
    population, sizes = _divided(visit, x)
    if population is not None:
        return mean, var, population, sizes
    rows = visit.selection.take
    return mean[rows], var[rows], None, sizes


def _divided(visit: Visit, x: Tensor) -> tuple[Tensor | None, list[int]]:
    """The branch of each sample, ``None`` for one of all; and the sizes of the branches, where the host knows them."""
    if visit.selection.beside == 1:
        return None, [len(x)]
    return visit.selection.index(len(x), x.device), list(visit.selection.sizes(len(x)) or ())
