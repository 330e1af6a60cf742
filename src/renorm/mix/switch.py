"""What the hooks of a moment exchange do in a forward of its model."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from renorm import functional
from renorm.functional import check_over
from renorm.mix.draws import Draw
from renorm.routing import Forwards, order_of, rerun


@dataclass(frozen=True)
class Settings:
    """What an exchange was asked to do, checked."""

    after: str | None
    before: str | None
    over: str
    groups: int | None
    group_size: int | None
    weight: float
    probability: float
    per_sample: bool
    across_branches: bool
    eps: float
    positive_only: bool
    detach: bool
    channel_dim: int
    folded: str | None

    def __post_init__(self) -> None:
        if (self.after is None) == (self.before is None):
            raise ValueError(
                f"after={self.after!r} and before={self.before!r} were given. An exchange has one position. "
                f"Name one layer, for example after='maxpool'."
            )
        check_over(self.over, self.groups, self.group_size)
        order_of(self.folded)
        for name in ("weight", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)} was given. It is a share. Pass a number from 0 to 1.")

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.after or self.before or ""

    @property
    def position(self) -> str:
        """The position in words."""
        return f"{'before' if self.after is None else 'after'} {self.layer!r}"

    def exchange(self, x: Tensor, donors: Tensor) -> Tensor:
        """The features with the moments of their donors; an input error names the position."""
        if len(x) != len(donors):
            donors = _folded(donors, len(x), self.folded, self.position)
        try:
            return functional.exchange_moments(
                x,
                donors,
                self.over,
                groups=self.groups,
                group_size=self.group_size,
                eps=self.eps,
                positive_only=self.positive_only,
                detach=self.detach,
                channel_dim=self.channel_dim,
            )
        except (ValueError, TypeError) as error:
            raise type(error)(f"exchange {self.position}: {error}") from error


class Switch:
    """What the hooks of an exchange follow. A copy of the model gets a dormant copy of it."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.training = False
        self.draw: Draw | None = None
        self.reached = False  # by the newest forward in training mode, which followed the draw
        self.calls: int | None = None  # of the layer in this forward of the model
        self._forwards: Forwards[Draw | None] = Forwards()

    def __getstate__(self) -> dict[str, Any]:
        return {"settings": self.settings}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(**state)

    def begin(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """Forward pre-hook of the model."""
        self.training, self.calls = module.training, 0
        if self.training:  # compiled code may change nothing inside a checkpoint, where the layer may be
            self.reached = torch.compiler.is_compiling() and _donors(self.draw) is not None

    def end(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """Forward hook of the model."""
        self.calls = None

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Forward pre-hook of the layer."""
        y = self._follow(args[0] if args else None)
        return None if y is None else (y, *args[1:])

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
        """Forward hook of the layer."""
        return self._follow(output)

    def _follow(self, x: Any) -> Tensor | None:
        """The features with their new moments, ``None`` where they keep their own."""
        if rerun():
            return self._exchange(x, self._forwards.recall(f"exchange {self.settings.position}: the layer"))
        draw = self.draw if self.training else None
        if not torch.compiler.is_compiling():
            self._forwards.remember(draw)
            if _donors(draw) is not None:
                self._check_forward()
        if _donors(draw) is not None and not self.reached:
            self.reached = True
        return self._exchange(x, draw)

    def _exchange(self, x: Any, draw: Draw | None) -> Tensor | None:
        donors = _donors(draw)
        if donors is None:
            return None
        if not isinstance(x, Tensor):
            raise TypeError(
                f"exchange {self.settings.position}: the layer passes a {type(x).__name__} there. It needs a tensor. "
                f"Choose a layer whose first input or only output is one."
            )
        return self.settings.exchange(x, donors)

    def _check_forward(self) -> None:
        if self.calls is not None:
            self.calls += 1
            if self.calls > 1:
                raise RuntimeError(
                    f"exchange {self.settings.position}: the layer is called more than once in a forward of the model. An "
                    f"exchange has one place. Choose a layer that is called once, or give the part of the model that is."
                )
        if self.draw is not None and self.draw.within is not None:
            route, selection = self.draw.within
            if route.selected(training=True) != selection:
                raise RuntimeError(
                    f"exchange {self.settings.position}: the forward follows another route than the one its step was drawn "
                    f"under. Samples are mixed within their branch. Call x = mix(x) under the route of the forward."
                )


def _donors(draw: Draw | None) -> Tensor | None:
    return None if draw is None else draw.donors


def switches_of(model: nn.Module) -> Iterator[tuple[nn.Module, Switch]]:
    """The exchanges in a model's hooks, each with the module it was made for."""
    for module in model.modules():
        for hook in list(module._forward_pre_hooks.values()):
            if getattr(hook, "__func__", None) is Switch.begin:
                yield module, hook.__self__  # pyright: ignore[reportFunctionMemberAccess]


def _folded(donors: Tensor, rows: int, folded: str | None, position: str) -> Tensor:
    """Donors for rows of which several stand for each sample: row t gets the moments of the donor's row t."""
    size, order = len(donors), order_of(folded)
    if size == 0 or rows % size:
        raise ValueError(
            f"exchange {position}: {rows} samples arrive there, and the step was drawn for {size}. The layer needs that many, "
            f"or as many rows for each. Call x = mix(x) with the batch of the forward."
        )
    if order is None:
        raise ValueError(
            f"exchange {position}: {rows} rows arrive there, in a batch of {size} samples. Which {rows // size} belong to which "
            f"sample is not guessed. Say it: folded='sample' where those of a sample follow each other, 'time' (or 'copies') "
            f"where whole batches do."
        )
    times = torch.arange(rows // size, device=donors.device)
    if order == "sample":
        return (donors.unsqueeze(1) * len(times) + times).flatten()
    return (donors + times.unsqueeze(1) * size).flatten()
