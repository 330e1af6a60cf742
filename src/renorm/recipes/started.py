"""How a run was started, where the options of its recipe are one group without others in it, and where it opens."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

import torch

from renorm.recipes.kind import recipe_of
from renorm.recipes.options import option
from renorm.train import Run

C = TypeVar("C")


def read_options(kind: type[C], about: Mapping[str, Any]) -> C:
    """The configuration that a run's config.json, or the description in a checkpoint, holds.

    Raises:
        ValueError: If it has options that are not known here.
    """
    saved: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in about["config"].items()
    }
    known: Any = kind
    if unknown := saved.keys() - {each.name for each in fields(known)}:
        raise ValueError(
            f"the configuration has options that this renorm does not know ({', '.join(sorted(unknown))}): the one that wrote "
            "it, or a later one, is needed. Upgrade renorm."
        )
    return kind(**saved)


def about_of(path: Path, recipe: str, made: str) -> dict[str, Any]:
    """What a run of a recipe says of itself.

    Args:
        path: Its folder.
        recipe: Which it must be of.
        made: By which command such a run is made, or what else would do.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If it is of another recipe.
    """
    about = Run(path).config()
    if recipe_of(about) != recipe:
        raise ValueError(
            f"{path} is a run of the recipe {recipe_of(about)!r}: one of {recipe!r} is needed here, as {made}. Name such a one."
        )
    return about


def check_typed(folder: Path, started: Any, given: Any, typed: Collection[str]) -> None:
    """Refuse options that are typed with ``--resume`` and are others than the run was started with.

    Raises:
        ValueError: If there is one.
    """
    names = [name for name in vars(given) if name in typed]
    if others := [name for name in names if getattr(given, name) != getattr(started, name)]:
        raise ValueError(
            f"{', '.join(option(name, True) for name in others)} with --resume: {folder} was started with another value, "
            "and a run goes on as it began. Leave it out, or start a new run with another --out."
        )


def on(device: str | None) -> str:
    """Where what is opened computes: by default on a GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
