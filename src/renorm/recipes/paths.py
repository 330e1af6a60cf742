"""Paths among the options of a recipe, so that a run finds its data from wherever it is opened.

An option that may be the path of data or weights says so by ``files="data"`` in its metadata, one of a network's code by
``files="code"``.
"""

from __future__ import annotations

from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from renorm.data import CIFAR
from renorm.models import is_code, whole
from renorm.recipes.flat import options_of

C = TypeVar("C")
NAMES = ("digits", *CIFAR, "pretrained")  # of no files, whatever is called so here


def described(config: Any) -> dict[str, Any]:
    """What config.json says of a configuration: its recipe, its options with whole paths, and paths as they were typed."""
    found = located(config)
    return {"recipe": config.recipe, "config": asdict(found), "typed": typed(config, found)}


def located(config: C) -> C:
    """The configuration with whole paths of what is there; links are not followed, as they may name the data."""
    given: Any = config
    changed = {}
    for each in fields(given):
        value = getattr(given, each.name)
        if is_dataclass(value):
            changed[each.name] = located(value)
        elif "files" in each.metadata:
            changed[each.name] = _whole(value, each.metadata["files"])
    return replace(given, **changed)


def typed(config: Any, found: Any) -> dict[str, str]:
    """Options whose paths were typed otherwise than they are in another configuration, as they were."""
    wholes = options_of(found)
    return {name: value for name, value in options_of(config).items() if value != wholes[name]}


def _whole(name: str | None, files: str) -> str | None:
    """The whole path of what is there; a name stays, and a path at which there is nothing, which is refused where it is read."""
    if files == "code":
        return whole(name) if name and is_code(name) else name
    return name if not name or name in NAMES or not Path(name).exists() else str(Path(name).absolute())
