"""The configuration that a run goes on with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from renorm.models import check_trusted
from renorm.recipes.classify.config import Config, Options, configured
from renorm.recipes.classify.saved import check_classifier
from renorm.recipes.flat import read_config
from renorm.recipes.paths import located
from renorm.recipes.started import check_typed
from renorm.train import Run


def resumed(run: Run, given: Options, typed: Collection[str] = ()) -> Config:
    """The configuration that a run was started with.

    Args:
        run: Which one.
        given: What is asked for now.
        typed: Options that were named, which count even where they are the default.

    Raises:
        ValueError: If options were given that differ from it, or it names code that nobody typed; if it is of another recipe.
        FileNotFoundError: If there is no run.
    """
    about = run.config()
    check_classifier(about, run.path)
    config, asked = located(read_config(Config, about)), configured(**vars(given))
    if "format" not in about:  # a run from before did not keep it
        config = replace(config, writing=replace(config.writing, table_images=asked.writing.table_images))
    if "model" not in typed:
        check_trusted(config.network.model, run.path)
    check_typed(run.path, config, asked, typed)
    return config
