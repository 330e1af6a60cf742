"""Normalizing every batch by its own statistics, without changing the model."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from renorm.banks import (
    Branch,
    Statistics,
    check_all_finite,
    exclusive,
    following,
    resolve,
    site_tensors,
    source_weight,
    unwrap,
)
from renorm.functional import Moments, at_least_float32, branch_norm, positions
from renorm.layers import Site
from renorm.routing import Visit, route_of


@contextmanager
def prediction_time(
    model: nn.Module, prior: float = 0, *, per_image: bool = False, branch: Branch = None
) -> Iterator[None]:
    r"""Evaluation forwards inside the block normalize by their own batch, blended with the source statistics.

    .. math:: \mu = s \mu_{source} + (1 - s) \mu_{batch}, \qquad \sigma^2 = s \sigma^2_{source} + (1 - s) \sigma^2_{batch},
        \qquad s = \frac{\text{prior}}{\text{prior} + n}

    for a batch of n samples, with its biased variance as in training. Each site gets its input moved such that normalizing
    by the source gives this. Nothing in the model is written, not even for a while; dropout stays off; gradients flow through
    the batch's statistics, as in training.

    Under a route each branch is normalized by its own samples of the batch, and blended with its own source. A site that sees
    time or patches folded into the batch counts these as samples. Compiled models run eagerly inside. Under activation
    checkpointing call ``backward`` inside the block.

    Reduces to: the source bit for bit for ``prior=inf``; batch normalization in training for ``prior=0``.

    Args:
        prior: how many samples the source is worth; 0 is the batch alone.
        per_image: each image by its own statistics (n = 1), whatever else is in the batch; published with ``prior=16``.
        branch: the route of the block's forwards; by default they follow the one that is open or lasting, as ever.

    Raises:
        ValueError: a model without running statistics, a negative prior, one value per channel for ``prior=0``.
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
    handles = []
    with ExitStack() as stack:
        stack.enter_context(exclusive(model, closed="renorm.prediction_time"))
        if "torch._dynamo" in sys.modules:  # else nothing is compiled, and loading it takes seconds
            stack.enter_context(torch.compiler.set_stance("force_eager"))
        stack.enter_context(following(model, branch))
        try:
            for name, site in _sites(model):
                hook = ByBatch(name, float(prior), per_image)
                handles.append(site.register_forward_pre_hook(hook, with_kwargs=True))
            yield
        finally:
            for handle in handles:
                handle.remove()


class ByBatch:
    """Forward pre-hook of a site, which moves its input. In a copy of the model it does nothing, as no block ends there."""

    def __init__(self, name: str, prior: float, per_image: bool) -> None:
        self.name, self.prior, self.per_image, self.copied = name, prior, per_image, False

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
        if self.per_image:
            mean, var = (t if population is None else t[population] for t in (mean, var))
            population, sizes = torch.arange(len(x), device=x.device), [1]
        if self.prior == 0 and 1 in [size * positions(x) for size in sizes]:
            raise ValueError(
                f"site {self.name!r} got a single value per channel, input {tuple(x.shape)}. The batch alone needs at least two. "
                f"Give more or larger images, or a prior, such as 16."
            )
        count, eps = len(x) if self.per_image else len(mean), float(site.eps)  # pyright: ignore[reportArgumentType]
        return moved(x, mean, var, self.prior, population=population, num_populations=count, eps=eps)


def _sites(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """All modules that hold statistics, of all branches, checked."""
    route = route_of(unwrap(model))
    found: dict[int, tuple[str, nn.Module]] = {}
    for branch in (None,) if route is None else route.branches:
        targets = site_tensors(model, branch)
        check_all_finite({name: Statistics(site.mean, site.var) for name, site in targets.items()})
        found |= {id(site.module): (name, site.module) for name, site in targets.items()}
    for name, site in found.values():
        if not isinstance(getattr(site, "eps", None), float | int):
            raise ValueError(
                f"site {name!r} is a {type(site).__name__} without eps. Normalizing by the batch needs it, to undo what the site "
                f"does by its own statistics. Give the module an attribute eps, or use renorm.adapt_."
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
    eps: float = 1e-5,
) -> Tensor:
    r"""Features that are, normalized by the source, what the given ones are by their populations blended with it.

    .. math:: \sqrt{\frac{\sigma^2_{source} + \epsilon}{\sigma^2 + \epsilon}} \, (x - \mu) + \mu_{source}

    Shape: x ``(N, C, *)``, the source's mean and variance ``(1, C)`` or by population ``(K, C)``; the result like x.

    Args:
        prior: how many samples the source is worth in the blend.
        population: ``(N,)`` int64, the population of each sample; ``None`` is one population.
    """
    dtype = at_least_float32(x[:0]).dtype
    mean, var = mean.detach().to(dtype), var.detach().to(dtype)

    def blend(batch: Moments) -> Moments:
        samples = torch.as_tensor(batch.count, dtype=dtype, device=x.device) / positions(x)
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
