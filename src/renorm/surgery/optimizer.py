"""Carrying an optimizer over when parameters are replaced, with its state."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
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
    _refuse_second_list(optimizer, new_of.keys())
    for group in optimizer.param_groups:
        group["params"] = [new_of.get(id(p), p) for p in group["params"]]
    for old in held:
        state: dict[str, Any] | None = optimizer.state.pop(old, None)
        if state is not None:
            new = new_of[id(old)]
            optimizer.state[new] = {key: _carried(value, old, new, resize) for key, value in state.items()}


def _refuse_second_list(optimizer: Optimizer, replaced: Collection[int]) -> None:
    """Refuse an optimizer that remembers parameters elsewhere too, as it would go on with the old ones."""
    groups = {id(optimizer.param_groups), *map(id, optimizer.param_groups)}
    passed = {id(optimizer.state), *groups}
    for key, value in vars(optimizer).items():
        if _holds(value, replaced, passed):
            raise ValueError(
                f"{type(optimizer).__name__} keeps parameters in a list of its own ({key!r}), beside its groups. It would go on "
                f"with those that are replaced. Leave optimizer= out, and build it after the conversion."
            )


def _holds(value: Any, wanted: Collection[int], passed: set[int]) -> bool:
    """Whether one of some tensors is in a value, its containers and optimizers, where it was not looked already."""
    if id(value) in passed:
        return False
    if isinstance(value, Tensor):
        return id(value) in wanted
    if isinstance(value, Optimizer):
        inside: Iterable[Any] = vars(value).values()
        passed = passed | {id(value.state)}
    elif isinstance(value, Mapping):
        inside = (*value.keys(), *value.values())
    elif isinstance(value, (list, tuple, set, frozenset)):
        inside = value
    else:
        return False
    return any(_holds(each, wanted, passed | {id(value)}) for each in inside)


def _carried(value: Any, old: nn.Parameter, new: nn.Parameter, resize: Resize) -> Any:
    if isinstance(value, Tensor) and value.shape == old.shape and value.ndim > 0:
        return resize(value, old, new)
    return value


def snapshot(optimizer: Optimizer, parameters: list[nn.Parameter]) -> dict[nn.Parameter, dict[str, Any]]:
    """The state of some parameters, values cloned."""
    states = {p: optimizer.state[p] for p in parameters if p in optimizer.state}
    return {p: {k: v.clone() if isinstance(v, Tensor) else v for k, v in s.items()} for p, s in states.items()}


class WithoutDecay:
    """New parameters put into an optimizer beside those that they multiply, all of them without weight decay.

    A group that has weight decay gives the parameters it held to a new group with its other options; in one without they
    stay, and the new ones join them. What the optimizer does not hold brings nothing in.

    Args:
        beside: pairs of a parameter that may be held and the new one that belongs beside it.
    """

    def __init__(self, optimizer: Optimizer, beside: list[tuple[nn.Parameter, nn.Parameter]]) -> None:
        self._optimizer, self._new = optimizer, [new for _, new in beside]
        self._former: list[tuple[dict[str, Any], dict[str, Any], Members]] = []  # group, where its went, what it held
        for group in list(optimizer.param_groups):
            self._join(group, {id(held): new for held, new in beside})

    def _join(self, group: dict[str, Any], new_of: dict[int, nn.Parameter]) -> None:
        members = _members(group)
        held = [(p, name) for p, name in members if id(p) in new_of]
        new = [(new_of[id(p)], _branch_name(name)) for p, name in held]
        if not held:
            return
        if not group.get("weight_decay"):
            _fill(group, members + new)
            self._former.append((group, group, members))
            return
        _fill(group, [(p, name) for p, name in members if id(p) not in new_of])
        made = {key: value for key, value in group.items() if key != "param_names"} | {"weight_decay": 0.0}
        _fill(made, held + new, named="param_names" in group)
        self._optimizer.param_groups.append(made)
        self._former.append((group, made, members))

    @property
    def made_groups(self) -> bool:
        """Whether there are groups that were not there before."""
        return any(group is not made for group, made, _ in self._former)

    def undo(self, gone: list[nn.Parameter]) -> None:
        """Put every parameter back where it was; the new ones, and what has replaced them since, leave with their state."""
        leaving = {id(p) for p in (*self._new, *gone)}
        for p in (*self._new, *gone):
            self._optimizer.state.pop(p, None)
        for group, made, members in self._former:
            known = leaving | {id(p) for p, _ in members}
            later = [(p, name) for p, name in _members(group) if id(p) not in known]
            if made is not group:
                later += [(p, name) for p, name in _members(made) if id(p) not in known]
                groups = self._optimizer.param_groups
                groups[:] = [each for each in groups if each is not made]
            _fill(group, members + later)


Members = list[tuple[nn.Parameter, str]]


def _members(group: dict[str, Any]) -> Members:
    """A group's parameters with their names, which only optimizers made of named parameters have."""
    return list(zip(group["params"], group.get("param_names", [""] * len(group["params"])), strict=True))


def _fill(group: dict[str, Any], members: Members, named: bool = False) -> None:
    group["params"] = [p for p, _ in members]
    if named or "param_names" in group:
        group["param_names"] = [name for _, name in members]


def _branch_name(name: str) -> str:
    site, dot, key = name.rpartition(".")
    return f"{site}{dot}branch_{key}"
