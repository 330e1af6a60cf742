"""Runs and files that must be of classifiers."""

from collections.abc import Mapping
from typing import Any

from renorm.recipes.classify.config import Config
from renorm.recipes.kind import recipe_of


def check_classifier(about: Mapping[str, Any], name: object) -> None:
    """Refuse a run, or a file, of another recipe where a classifier is needed.

    Raises:
        ValueError: If it is one.
    """
    if (recipe := recipe_of(about)) != Config.recipe:
        raise ValueError(
            f"{name} is a run of the recipe {recipe!r}: a classifier is needed here. Name a run of renorm train, or a model."
        )
