"""Carrying an optimizer over when parameters are replaced, with its state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

Resize = Callable[[Tensor, nn.Parameter, nn.Parameter], Tensor]


def replace_parameters(optimizer: Optimizer, pairs: list[tuple[nn.Parameter, nn.Parameter]], resize: Resize) -> None:
    """Put new parameters in the place of old ones in every group.

    State tensors shaped like their parameter go through ``resize(state, old, new)``; others, such as Adam's ``step``, are
    kept. The old state is dropped.
    """
    new_of = {id(old): new for old, new in pairs}
    held = [p for group in optimizer.param_groups for p in group["params"] if id(p) in new_of]
    if pairs and not held:
        raise ValueError(
            "optimizer= holds none of the parameters that are replaced. It needs to be the one that trains this model. "
            "Pass that optimizer, or none and build it after the conversion."
        )
    for group in optimizer.param_groups:
        group["params"] = [new_of.get(id(p), p) for p in group["params"]]
    for old in held:
        state: dict[str, Any] | None = optimizer.state.pop(old, None)
        if state is not None:
            new = new_of[id(old)]
            optimizer.state[new] = {key: _carried(value, old, new, resize) for key, value in state.items()}


def _carried(value: Any, old: nn.Parameter, new: nn.Parameter, resize: Resize) -> Any:
    if isinstance(value, Tensor) and value.shape == old.shape and value.ndim > 0:
        return resize(value, old, new)
    return value


def snapshot(optimizer: Optimizer, parameters: list[nn.Parameter]) -> dict[nn.Parameter, dict[str, Any]]:
    """The state of some parameters, values cloned."""
    states = {p: optimizer.state[p] for p in parameters if p in optimizer.state}
    return {p: {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()} for p, s in states.items()}
