"""Split batch normalization: one set of statistics and affine parameters per branch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Generator, nn

from renorm.layers.normalizing import NormalizingSite
from renorm.layers.rows import Rows
from renorm.layers.settings import SHARABLE, Sync, fill_affine_
from renorm.layers.site import Affine
from renorm.routing import Route


@final
class SplitBatchNorm(NormalizingSite):
    r"""Batch normalization with one *branch* per population of inputs.

    .. math:: y_n = \gamma_{k(n)} \frac{x_n - \mu_{k(n)}}{\sqrt{\sigma^2_{k(n)} + \epsilon}} + \beta_{k(n)}

    where :math:`k(n)` is the branch of sample n, chosen by :func:`renorm.route`. In training the moments are those of the
    branch's samples in the batch (biased variance), and its running statistics move (unbiased variance); in evaluation they
    are its running statistics.

    Parameters and buffers are flat and branch-major, ``(K*C,)``, under PyTorch's names, so that a plain checkpoint loads
    strictly (each branch gets a copy) and rules for 1-d parameters keep working; ``num_batches_tracked`` is ``(K,)``.
    What is shared has one row, ``(C,)``. With ``share="statistics"`` it is class-conditional normalization, an affine per class.

    An absent branch gets zero gradients, so momentum and weight decay still move its affine.

    A layer of a network of your own can be given the branch of each sample in place of a route: ``norm(x, labels)``, ``(N,)``
    int64, which are checked once per tensor, in eager code; or that of the whole batch, ``norm(x, "weak")`` or ``norm(x, 0)``.

    Shape: ``(N, C, *)`` to the same, in the same dtype and memory format.

    Reduces to: ``nn.BatchNorm{1,2,3}d`` for one branch, and per branch under ``route(model, branch)``.

    Args:
        num_features: C.
        branches: their names, or how many there are, called ``"0"``, ``"1"``, ...
        eps, momentum, affine, track_running_stats: as in PyTorch; ``momentum=None`` is the average over the batches of a branch.
        share: what branches have in common, of ``"statistics"`` and ``"affine"``.
        init: ``"identity"``; or ``"published"``, scales drawn from N(1, 0.02), which needs ``generator``.
        sync: pool the moments of a training batch over ranks: a process group, or ``"world"``; ``None`` is local.
        route: the route to share with other sites; a new one by default.

    Raises:
        ValueError: wrong shape, a batch that the route does not divide, one value per channel in training.
        RuntimeError: training without a route.

    Reference: Merchant, Zoph & Cubuk, *Does data augmentation benefit from split BatchNorms*, 2020;
    Xie et al., *Adversarial examples improve image recognition*, 2020; of classes, Dumoulin, Shlens & Kudlur, *A learned
    representation for artistic style*, ICLR 2017, and de Vries et al., *Modulating early visual processing by language*, 2017.

    Example:
        >>> norm = renorm.layers.SplitBatchNorm(4, ["weak", "strong"])
        >>> with renorm.route(norm, {"weak": 6, "strong": 2}):
        ...     y = norm(torch.randn(8, 4, 5, 5))
        >>> norm.num_batches_tracked
        tensor([1, 1])
    """

    def __init__(
        self,
        num_features: int,
        branches: Sequence[str] | int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        share: str | Iterable[str] = (),
        init: str = "identity",
        generator: Generator | None = None,
        sync: Sync = None,
        route: Route | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        made: Any = {"share": share, "sync": sync, "route": route, "device": device, "dtype": dtype}
        super().__init__(num_features, branches, eps, momentum, affine, track_running_stats, **made)
        self.initialize_(init, generator)

    @property
    def takes_unknown(self) -> bool:
        return self.share == SHARABLE  # then there are no branches to belong to

    def branched(self, key: str) -> bool:
        return ("affine" if key in ("weight", "bias") else "statistics") not in self.share

    def affines(self, rows: Rows) -> Affine:
        return self.pick(self.weight, rows), self.pick(self.bias, rows)

    def initialize_(self, init: str, generator: Generator | None = None) -> None:
        fill_affine_((self.weight,), (self.bias,), init, generator)

    def own_parameters(self, row: int) -> dict[str, nn.Parameter]:
        return {key: p for key, p in self._parameters.items() if p is not None}

    def sources(self, key: str) -> tuple[int, ...]:
        own = self._parameters[key]
        return () if own is None else (id(own),)
