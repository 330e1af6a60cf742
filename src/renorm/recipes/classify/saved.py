"""A configuration as config.json and checkpoints have it."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, get_type_hints

from renorm.recipes.classify.config import Config
from renorm.recipes.classify.flat import configured, group_of
from renorm.recipes.kind import recipe_of

RENAMED = {"exchange_norm": "exchange_over", "attack_norm": "attack_ball"}  # options of runs from before


def config_of(about: Mapping[str, Any]) -> Config:
    """The configuration in a run's or checkpoint's description; the defaults where it has none.

    Raises:
        ValueError: If it has options that are not known here.
    """
    saved: Mapping[str, Any] = about.get("config", {})
    try:
        return _read(Config, saved) if "source" in saved or not saved else _flat(saved)
    except TypeError as error:
        raise ValueError(
            f"the configuration has an option that this renorm does not know ({error}): the one that wrote it, or a later one, "
            "is needed. Upgrade renorm."
        ) from error


def check_classifier(about: Mapping[str, Any], name: object) -> None:
    """Refuse a run, or a file, of another recipe where a classifier is needed.

    Raises:
        ValueError: If it is one.
    """
    if (recipe := recipe_of(about)) != Config.recipe:
        raise ValueError(
            f"{name} is a run of the recipe {recipe!r}: a classifier is needed here. Name a run of renorm train, or a model."
        )


def _read(kind: type[Any], saved: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    inner = {each.name: group_of(hints[each.name]) for each in fields(kind)}
    return kind(**{name: _value(inner.get(name), value) for name, value in saved.items()})


def _value(group: type[Any] | None, value: Any) -> Any:
    if group is not None and value is not None:
        return _read(group, value)
    return tuple(value) if isinstance(value, list) else value


def _flat(saved: Mapping[str, Any]) -> Config:
    """From before options had groups."""
    return configured(**{RENAMED.get(name, name): _value(None, value) for name, value in saved.items()})
