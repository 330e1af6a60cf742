"""Sandwich batch normalization: an affine that all branches share, and on top of it one affine per branch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, final

import torch
from torch import Generator, Tensor, nn

from renorm import functional
from renorm.layers.normalizing import NormalizingSite
from renorm.layers.rows import Rows, row_of
from renorm.layers.settings import Sync, check_sandwich, check_unknown, fill_affine_, names_of
from renorm.layers.site import Affine
from renorm.routing import Route


@final
class SandwichBatchNorm(NormalizingSite):
    r"""Batch normalization, an affine that all branches share, and on top of it one affine per branch.

    .. math:: y_n = \gamma_{k(n)} \left(\gamma \frac{x_n - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta\right) + \beta_{k(n)}

    where :math:`k(n)` is the branch of sample n: a class, a domain, clean or attacked. Both affines are merged before the pass
    over ``x``, so it costs what :class:`SplitBatchNorm` costs, with one row or a thousand.

    ``weight`` and ``bias``, ``(C,)``, are the shared affine, ``branch_weight`` and ``branch_bias``, ``(K*C,)``, those of the
    branches. A plain checkpoint loads strictly: it is the shared affine, and those of the branches become the identity.
    Weight decay on a product pulls both factors to zero: leave all four out of it.

    Shape: ``(N, C, *)`` to the same, in the same dtype and memory format.

    Reduces to: ``nn.BatchNorm{1,2,3}d`` of the shared affine while those of the branches are the identity.

    Args:
        num_features: C.
        branches: their names, or how many there are, called ``"0"``, ``"1"``, ...
        eps, momentum, affine, track_running_stats: as in PyTorch.
        share: ``"statistics"`` or ``()``, one set of statistics or one per branch.
        init: ``"identity"``; or ``"published"``, scales of both affines drawn from N(1, 0.02), which needs ``generator``.
        unknown: what samples of no branch (label -1, by name ``"unknown"``) get: ``"shared"``, the shared affine alone, which
            needs shared statistics and is the default with them; or ``"error"``. A given ``route`` has decided it.
        sync, route: as in :class:`SplitBatchNorm`.

    Raises:
        ValueError: as :class:`SplitBatchNorm`; an affine that branches share, unknown samples without shared statistics.

    Reference: Gong, Chen, Chen & Wang, *Sandwich batch normalization: a drop-in replacement for feature distribution
    heterogeneity*, WACV 2022.

    Example:
        >>> norm = renorm.layers.SandwichBatchNorm(4, 10)
        >>> norm(torch.randn(3, 4, 5, 5), torch.tensor([7, 2, -1])).shape
        torch.Size([3, 4, 5, 5])
    """

    branch_weight: nn.Parameter | None
    branch_bias: nn.Parameter | None

    def __init__(
        self,
        num_features: int,
        branches: Sequence[str] | int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        *,
        share: str | Iterable[str] = ("statistics",),
        init: str = "identity",
        generator: Generator | None = None,
        unknown: str | None = None,
        sync: Sync = None,
        route: Route | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        share = check_sandwich(share)
        if route is None:
            route = Route(names_of(branches), check_unknown(unknown, share))
        made: Any = {"sync": sync, "route": route, "device": device, "dtype": dtype}
        settings = (num_features, route.branches, eps, momentum, affine, track_running_stats)
        super().__init__(*settings, share=share, **made)
        flat: Any = {"size": (self.num_rows * num_features,), "device": device, "dtype": dtype}
        self.register_parameter("branch_weight", nn.Parameter(torch.ones(**flat)) if affine else None)
        self.register_parameter("branch_bias", nn.Parameter(torch.zeros(**flat)) if affine else None)
        self.initialize_(init, generator)

    @property
    def takes_unknown(self) -> bool:
        return "statistics" in self.share

    def branched(self, key: str) -> bool:
        return key.startswith("branch_") or (key not in ("weight", "bias") and "statistics" not in self.share)

    def affines(self, rows: Rows) -> Affine:
        own = self._own(self.branch_weight, rows, 1.0), self._own(self.branch_bias, rows, 0.0)
        return functional.compose_affine((self.weight, self.bias), own)

    def _own(self, flat: Tensor | None, rows: Rows, identity: float) -> Tensor | None:
        if flat is None or isinstance(rows, slice) or not self.route.unknown:
            return self.pick(flat, rows)
        rows = rows.to(flat.device)
        return self.pick(flat, rows.clamp(min=0)).where(rows.unsqueeze(1) >= 0, identity)  # pyright: ignore[reportOptionalMemberAccess]

    @torch.no_grad()
    def writes(self, row: int, weight: Tensor | None, bias: Tensor | None) -> list[tuple[Tensor, Tensor]]:
        if weight is None and bias is None:
            return []
        if row < 0:
            raise ValueError(
                f"an affine was given for samples of no branch (site {self.name!r}). They have the one that all branches share. "
                f"Name a branch, or use a bank of statistics alone."
            )
        now = self.affine_of(row)
        given = [a if a is None or b is None else b.to(a) for a, b in zip(now, (weight, bias), strict=True)]
        if all(
            a is b or (a is not None and b is not None and torch.equal(a, b)) for a, b in zip(now, given, strict=True)
        ):
            return []
        if self.weight is not None and given[0] is not None and ((self.weight == 0) & (given[0] != 0)).any():
            raise ValueError(
                f"site {self.name!r} has shared scales of 0, and other scales were given. No branch can make them of 0. "
                f"Use a bank of statistics alone."
            )
        values = functional.factor_affine((self.weight, self.bias), (given[0], given[1]))
        targets = (t if t is None else row_of(t, self.num_rows, row) for t in (self.branch_weight, self.branch_bias))
        return [(t, v) for t, v in zip(targets, values, strict=True) if t is not None and v is not None]

    def own_parameters(self, row: int) -> dict[str, nn.Parameter]:
        return {key: p for key, p in self._parameters.items() if p is not None and key.startswith("branch_")}

    def multiplied(self) -> list[tuple[nn.Parameter, nn.Parameter]]:
        pairs = ((self.weight, self.branch_weight), (self.bias, self.branch_bias))
        return [(shared, own) for shared, own in pairs if shared is not None and own is not None]

    def sources(self, key: str) -> tuple[int, ...]:
        merged = (key, "branch_weight", f"branch_{key}")
        return () if self._parameters[key] is None else tuple(id(self._parameters[each]) for each in merged)

    def initialize_(self, init: str, generator: Generator | None = None, *, shared: bool = True) -> None:
        """Set the affines of the branches, and the shared one, to ``"identity"`` or ``"published"``; see the class."""
        weights, biases = (self.branch_weight, self.weight), (self.branch_bias, self.bias)
        fill_affine_(weights[: 1 + shared], biases[: 1 + shared], init, generator)

    def repeat_plain_(self, state: dict[str, Any], prefix: str, named: bool) -> None:
        super().repeat_plain_(state, prefix, named)
        own = [key for key, p in self._parameters.items() if key.startswith("branch_") and p is not None]
        if named or any(prefix + key in state for key in own):
            return
        for key in own:  # the checkpoint's affine is the shared one, and those of the branches change nothing
            given = state.get(prefix + key.removeprefix("branch_"))
            if given is not None:
                state[prefix + key] = given.new_full(
                    (self.num_rows * self.num_features,), float(key.endswith("weight"))
                )
