"""Runs of any recipe: prepared, trained into a folder, opened."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from renorm.evaluate import PreparedTable
from renorm.recipes.asked import Evaluation, Exporting, check_known
from renorm.recipes.flat import options_of, read_config
from renorm.recipes.kind import RECIPES, ExportedRun, kind_of, recipe_of
from renorm.recipes.paths import located
from renorm.train import Callback, Listener, Recipe, Run, check_trackers, tracking, train
from renorm.version import __version__


def prepare(config: Any, device: str | None = None) -> Recipe:
    """What trains by a configuration, with its data, checked before anything is written.

    Args:
        config: Of any recipe, say :class:`renorm.recipes.classify.Config`.
        device: Where to train, say ``"cpu"``; by default on an accelerator if there is one.

    Raises:
        ValueError: If it cannot be trained.
    """
    return RECIPES[config.recipe].recipe(config, device=device)


def fit(
    recipe: Recipe,
    folder: Path | str,
    *,
    resume: bool = False,
    command: str = "",
    callback: Callback | None = None,
    listener: Listener | None = None,
) -> Run:
    """Train a recipe into a folder: its configuration, metrics, checkpoint and banks. Only the main process writes.

    Args:
        recipe: As :func:`prepare` gives it.
        folder: Of the run.
        resume: Whether to go on with the run that is there, from its newest checkpoint.
        command: What was typed to start it, for ``config.json``.
        callback: Told of each step.
        listener: Told the record of each epoch.

    Raises:
        ValueError: If a run is there and is not to be resumed, or was started with another configuration; if a tracker is
            not installed.
        FileNotFoundError: If it is to be resumed and there is none.
        FloatingPointError: If a loss is not finite; the newest checkpoint stays.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> from renorm.recipes.classify import configured
        >>> with TemporaryDirectory() as folder:
        ...     run = fit(prepare(configured(model="resnet8", epochs=1)), folder)
        ...     sorted(path.name for path in run.banks.iterdir())
        ['strong.safetensors', 'weak.safetensors']
    """
    run, main = Run(Path(folder)), recipe.processes.main
    trackers = recipe.plan.trackers if main else ()
    check_trackers(trackers)
    if resume:
        _check_same(recipe, run)
    elif main:
        run.start(description(recipe, command))
    with tracking(run.path, trackers, recipe.processes) as write:

        def heard(record: dict[str, float]) -> None:
            write(record)
            if listener:
                listener(record)

        train(recipe, run, resume=resume, callback=callback if main else None, listener=heard)
    if main:
        opened = kind_of(run.config()).open(
            run.path, str(recipe.processes.device)
        )  # banks are hashed while it is there
        for name, bank in opened.banks().items():
            bank.save(run.banks / f"{name}.safetensors")
    return run


def description(recipe: Recipe, command: str = "") -> dict[str, Any]:
    """What config.json says."""
    versions = {"renorm": __version__, "torch": torch.__version__, "python": sys.version.split()[0]}
    return {"format": 1, "command": command, "versions": versions, **recipe.describe()}


def described_run(path: Path) -> dict[str, str]:
    """What a run is and how far it is, in words.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If a file of it is damaged, or it is of an unknown recipe.
    """
    run = Run(path)
    about = run.config()
    history = run.history()
    options = {name: value for name, value in options_at(about).items() if value not in (None, (), [], "")}
    found = {
        "what": f"a run of the recipe {recipe_of(about)}",
        "command": about.get("command") or "not said",
        "versions": ", ".join(f"{name} {each}" for name, each in about.get("versions", {}).items()) or "not said",
        "options": ", ".join(f"{name} {_listed(value)}" for name, value in options.items()),
        "epochs": f"{len(history)} in its metrics",
        "checkpoint": "yes" if run.checkpoint.exists() else "none yet",
        "banks": ", ".join(sorted(each.stem for each in run.banks.glob("*.safetensors"))) or "none yet",
        "table": str(run.results) if run.results.exists() else "none yet",
    }
    if history:
        found["last epoch"] = ", ".join(f"{name} {value:.4g}" for name, value in history[-1].items())
    return found


def _listed(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def open_run(path: Path, device: str | None = None) -> Any:
    """What a run of any recipe opens as, from its newest checkpoint.

    Args:
        path: Its folder.
        device: Where it computes, say ``"cpu"``; by default on a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If the checkpoint is damaged, or of an unknown recipe.
    """
    return kind_of(Run(path).config()).open(path, device)


def recipe_at(path: Path) -> str:
    """The recipe of the run in a folder.

    Raises:
        FileNotFoundError: If there is no run.
    """
    return recipe_of(Run(path).config())


def prepare_table(
    recipe: str, opened: Any, asked: Evaluation | None = None, *, model: str = "", command: str = ""
) -> PreparedTable:
    """The table of what a run opened as, with all that could be refused refused; its ``compute`` makes it.

    Args:
        recipe: The name of its recipe.
        opened: What :func:`open_run` gave, or a classifier by a file or a name.
        asked: What to evaluate; by default what is usual.
        model: What it is called in the table.
        command: What was typed, if anything was.

    Raises:
        ValueError: If the recipe has no such option, or it would do nothing; if there are no such banks, images or shifts.
        FileNotFoundError: If images are not where they were.
    """
    asked, kind = asked or Evaluation(), RECIPES[recipe]
    check_known(asked, recipe, kind.asks)
    asked.check()
    return kind.evaluate(opened, asked, model=model, command=command)


def export_opened(
    recipe: str, opened: Any, path: Path, asked: Exporting | None = None, *, model: str = "", command: str = ""
) -> ExportedRun:
    """Write what a run opened as to a program that runs without renorm, compared with it before it is there.

    Args:
        recipe: The name of its recipe.
        opened: What :func:`open_run` gave, or a classifier by a file or a name.
        path: A .pt2 or .onnx file.
        asked: Which part of it; by default what is usual.
        model: What the file calls it.
        command: What was typed, if anything was.

    Raises:
        ValueError: If runs of the recipe cannot be exported, or have no such option or bank.
        RuntimeError: If the program is not equal to the model.
    """
    asked, kind = asked or Exporting(), RECIPES[recipe]
    if kind.export is None:
        raise ValueError(
            f"{model or 'this'} is a run of the recipe {recipe!r}, whose runs cannot be exported: a classifier is needed here, "
            "as a rule. Name a run of renorm train, or a model."
        )
    check_known(asked, recipe, kind.exports)
    return kind.export(opened, asked, path, {"model": model, "command": command})


def config_of(about: Mapping[str, Any]) -> Any:
    """The configuration that a run's config.json, or the description in a checkpoint, holds; the defaults where it has none.

    Raises:
        ValueError: If it has options that are not known here.
    """
    return read_config(kind_of(about).config, about)


def options_at(about: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a run by name, from its config.json: defaults where it is older than one, paths as they were typed."""
    return options_of(config_of(about)) | about.get("typed", {})


def _check_same(recipe: Recipe, run: Run) -> None:
    about, described = run.config(), json.loads(json.dumps(recipe.describe()))
    if recipe_of(about) != recipe_of(described):
        raise ValueError(
            f"{run.path} is a run of the recipe {recipe_of(about)!r}: one of {recipe_of(described)!r} is needed to go on with. "
            "Choose another folder."
        )
    started, given = (options_of(located(config_of(each))) for each in (about, described))
    names = [name for name in given if given[name] != started[name]]
    if "format" in about and names:
        raise ValueError(
            f"{run.path} was started with another {', '.join(names)}: a run goes on as it began. Prepare the configuration that "
            "config_of gives for its config.json, or choose another folder."
        )
