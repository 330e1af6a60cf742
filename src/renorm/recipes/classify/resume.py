"""The configuration that a run goes on with."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from renorm.models import check_trusted
from renorm.recipes.classify.config import Config
from renorm.recipes.classify.flat import Options, configured, options_of
from renorm.recipes.classify.paths import located
from renorm.recipes.classify.saved import check_classifier, config_of
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
    config = located(config_of(about))
    if "format" not in about:  # a run from before did not keep it
        config = replace(config, writing=replace(config.writing, table_images=vars(given)["table_images"]))
    if "model" not in typed:
        check_trusted(config.network.model, run.path)
    started, asked = options_of(config), options_of(located(configured(**vars(given))))
    usual = vars(Options())
    differing = [
        name for name, value in asked.items() if (value != usual[name] or name in typed) and value != started[name]
    ]
    if differing:
        differ = ", ".join(f"{name} {asked[name]!r} (the run has {started[name]!r})" for name in differing)
        raise ValueError(
            f"--resume with other options than {run.path} was started with: {differ}. A run goes on as it began. "
            "Leave them out, or start a new run with another --out."
        )
    return config
