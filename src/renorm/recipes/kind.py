"""What a recipe is to the rest of renorm, and all of them by name; naming one imports nothing of the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from renorm.banks import Bank
    from renorm.evaluate import PreparedTable
    from renorm.export import Exported
    from renorm.recipes.asked import Exporting
    from renorm.report import Head, Record, Section
    from renorm.train import Recipe


class Opened(Protocol):
    """What a run opens as."""

    def banks(self) -> Mapping[str, Bank]:
        """The bank of each branch, by its name."""
        ...


class ExportedRun(NamedTuple):
    """What was exported of a run.

    Args:
        file: The file that was written.
        takes: What it takes, in words.
        about: The same for those who use it: names, shapes, and the like.
    """

    file: Exported
    takes: str
    about: Mapping[str, Any]


class Kind(NamedTuple):
    """One recipe.

    Args:
        config: The class of its configurations; each names its recipe.
        recipe: Makes what trains from a configuration, on ``device=``.
        open: Opens the folder of a run on a device, or on the usual one.
        show: The head of a run's page, and the sections that there are.
        asks: Names of the options of :class:`Evaluation` that its runs have.
        evaluate: Prepares the table of what :attr:`open` gave and an :class:`Evaluation` of such options, with ``model=`` and
            ``command=`` as the table names them.
        exports: Names of the options of :class:`Exporting` that its runs have.
        export: Writes what :attr:`open` gave, by an :class:`Exporting` of such options, to a path as a program whose file says
            what it is given ``about`` itself; None where runs cannot be exported.
        measure: Measures the statistics of what :attr:`open` gave on so many samples of a seed, where it makes them itself.
    """

    config: type[Any]
    recipe: Callable[..., Recipe]
    open: Callable[[Path, str | None], Opened]
    show: Callable[[Record], tuple[Head, list[Section]]]
    asks: tuple[str, ...]
    evaluate: Callable[..., PreparedTable]
    exports: tuple[str, ...] = ()
    export: Callable[[Any, Exporting, Path, Mapping[str, Any]], ExportedRun] | None = None
    measure: Callable[[Any, int, int], Bank] | None = None


class Recipes(Mapping[str, Kind]):
    """Kinds by name, each imported when it is used first.

    Args:
        modules: Of each name, where its ``KIND`` is.
    """

    def __init__(self, modules: dict[str, str]) -> None:
        self.modules = modules

    def __getitem__(self, name: str) -> Kind:
        return import_module(self.modules[name]).KIND

    def __iter__(self) -> Iterator[str]:
        return iter(self.modules)

    def __len__(self) -> int:
        return len(self.modules)


RECIPES = Recipes({name: f"renorm.recipes.{name}.kind" for name in ("classify", "generate", "search", "stylize")})
USUAL = "classify"  # of files from before they said it


def recipe_of(about: Mapping[str, Any]) -> str:
    """The name of the recipe that a run's config.json, or the description in a checkpoint, says."""
    return about.get("recipe", USUAL)


def kind_of(about: Mapping[str, Any]) -> Kind:
    """The kind that a run's config.json, or the description in a checkpoint, names.

    Raises:
        ValueError: If there is no such recipe.
    """
    name = recipe_of(about)
    if name not in RECIPES:
        raise ValueError(
            f"a run of the recipe {name!r}: one of {', '.join(RECIPES)} is needed. Upgrade renorm, or train it again."
        )
    return RECIPES[name]
