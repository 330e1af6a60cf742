"""How a run was started: what it says of itself, and whether it goes on with the same options."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from renorm.recipes.flat import leaves, options_of
from renorm.recipes.kind import recipe_of
from renorm.recipes.paths import located
from renorm.train import Run


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


def check_typed(folder: Path, started: Any, asked: Any, typed: Collection[str] = ()) -> None:
    """Refuse to go on with other options than a run was started with.

    Args:
        folder: Of the run.
        started: Its configuration.
        asked: The one that is asked for now.
        typed: Options that were named, which count even where they are the default.

    Raises:
        ValueError: If an option that was named, or is not the default, is another.
    """
    found, given, known = options_of(located(started)), options_of(located(asked)), leaves(type(asked))
    names = [name for name, value in given.items() if name in typed or value != known[name].default]
    if others := [name for name in names if given[name] != found[name]]:
        differ = ", ".join(f"{name} {given[name]!r} (the run has {found[name]!r})" for name in others)
        raise ValueError(
            f"--resume with other options than {folder} was started with: {differ}. A run goes on as it began. "
            "Leave them out, or start a new run with another --out."
        )


def on(device: str | None) -> str:
    """Where what is opened computes: by default on a GPU if there is one."""
    return device or ("cuda" if torch.cuda.is_available() else "cpu")
