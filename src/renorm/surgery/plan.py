"""Which norms of a model to convert, and which are left and why."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from renorm.layers import read_by_parents, sites_of
from renorm.surgery import rules

Sites = str | Iterable[str] | Callable[[str, nn.Module], bool] | None


class Norms(NamedTuple):
    """Norms of a model by name: to convert, of known classes but not among the sites, and left, with the reason."""

    root: nn.Module
    chosen: dict[str, nn.Module]
    rest: dict[str, nn.Module]
    left: dict[str, str]


def plan(root: nn.Module, sites: Sites, whole: str | None) -> Norms:
    """Which modules to convert, and which norms are left and why; refuses before anything is changed.

    Args:
        whole: why norms cannot be copied whole, where they cannot.
    """
    found = dict(_walk(root))
    _refuse_converted(root)
    names = [name for name, (_, rule) in found.items() if rule.action in ("split", "copy", "refuse")]
    wanted = set(_selected(names, {n: m for n, (m, _) in found.items()}, sites))
    left = {n: rule.reason for n, (_, rule) in found.items() if rule.action == "leave"}
    left |= {n: "not among sites=" for n in names if n not in wanted}
    chosen = {n: found[n] for n in names if n in wanted}
    for name, (module, rule) in chosen.items():
        if rule.action == "refuse":
            raise ValueError(f"{name!r} ({type(module).__name__}) cannot be converted: {rule.reason}")
        if rule.action == "copy" and whole is not None:
            raise ValueError(f"{name!r} ({type(module).__name__}) has a class renorm does not know, and {whole}")
    for name, parent in read_by_parents(root, {name: module for name, (module, _) in chosen.items()}).items():
        raise ValueError(
            f"{name!r} is inside a {parent}, whose forward reads its statistics itself. It would find those of all branches at "
            f"once. Convert the model before it is prepared (for quantization, say), or exclude the norm by sites=."
        )
    if not chosen:
        raise ValueError(_nothing(root, left))
    if "" in chosen:
        raise ValueError(
            f"the model itself is a norm ({type(root).__name__}). A conversion replaces norms inside a parent. "
            f"Wrap it: nn.Sequential(norm)."
        )
    rest = {n: module for n, (module, rule) in found.items() if rule.action == "split" and n not in chosen}
    return Norms(root, {name: module for name, (module, _) in chosen.items()}, rest, left)


def _walk(root: nn.Module) -> Iterable[tuple[str, tuple[nn.Module, rules.NormRule]]]:
    """Norms with statistics by name, outermost first; what is inside one is its own business."""
    inside = {id(m) for p in root.modules() if isinstance(p, ParametrizationList) for m in p.modules()}
    for name, module in root.named_modules():
        if id(module) in inside:
            continue
        rule = rules.rule_for(module)
        if rule.action != "pass":
            inside |= {id(m) for m in module.modules()}
            yield name, (module, rule)


def _refuse_converted(root: nn.Module) -> None:
    for name, site in sites_of(root):
        raise ValueError(
            f"the model is converted already: {name!r} has the branches {list(site.branches)}. "
            f"A conversion needs plain norms. Add branches by renorm.add_branch_, or undo the first conversion."
        )


def _selected(names: list[str], modules: Mapping[str, nn.Module], sites: Sites) -> list[str]:
    if sites is None:
        return names
    if callable(sites):
        return [name for name in names if sites(name, modules[name])]
    chosen: list[str] = []
    for pattern in (sites,) if isinstance(sites, str) else sites:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            close = difflib.get_close_matches(pattern, names, n=3) or names[:3]
            raise ValueError(
                f"sites={pattern!r} matches no norm of this model. It has {len(names)} of them. Close matches: {close}."
            )
        chosen += matched
    return chosen


def _nothing(root: nn.Module, left: Mapping[str, str]) -> str:
    other = sorted({type(m).__name__ for m in root.modules() if "Norm" in type(m).__name__})
    had = f"it has {', '.join(other)}" if other else "it has no normalization layer at all"
    return (
        f"{type(root).__name__} has no norm to convert: {had}"
        + (f", and left alone are {listed(list(left))}" if left else "")
        + ". Branches need norms with statistics of the batch. Use a model with batch normalization, or widen sites=."
    )


def listed(names: list[str]) -> str:
    """Names for a text, of many the first and the last."""
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]}, ... {names[-1]} ({len(names)})"
