"""Which bank of a model is exported, and as what."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from renorm.banks import Bank, using
from renorm.evaluate import SOURCE, Choice, TrainingImages, choose
from renorm.recipes.asked import Exporting
from renorm.recipes.classify.files import write_program
from renorm.recipes.classify.named import NamedModel
from renorm.recipes.classify.reading import read
from renorm.recipes.classify.score import views_of
from renorm.recipes.kind import ExportedRun


def export(named: NamedModel, asked: Exporting, path: Path, about: Mapping[str, Any]) -> ExportedRun:
    """Write one bank of a model as a program.

    Raises:
        ValueError: If it is unknown or there are several to choose from, or no size of images is known.
    """
    named = _sized(named, asked.size, about.get("model", ""))
    choice = exported_choice(named, asked.bank, asked.branch, asked.train, asked.seed)
    bank = choice.bank and choice.bank.check_complete()
    with using(named.classifier.model, bank, choice.branch) if bank else nullcontext():
        said = {**about, "bank": asked.bank or choice.branch or SOURCE, "made": choice.made}
        plain = named.classifier.folded(choice.branch)
        return write_program(named, plain, path, said, normalize=asked.normalize)


def _sized(named: NamedModel, size: int | None, model: str) -> NamedModel:
    """The model with the size of its images."""
    size = named.classifier.size if size is None else size
    if size is None or size < 1:
        what = "no size is known" if size is None else f"{size} is no size"
        raise ValueError(f"{what} for images of {model}: a side in pixels is needed. Add --size, say --size 224.")
    return named.of_size(size)


def exported_choice(
    named: NamedModel, bank: str | None = None, branch: str | None = None, train: str | None = None, seed: int = 0
) -> Choice:
    """One bank of a model, by the names that ``renorm evaluate`` takes.

    Args:
        named: The model.
        bank: A measured or mixed bank, or a file; by default the branch's own.
        branch: Which one, if the model has several; with a file, the branch to put it in.
        train: Training images, which ``clean@`` banks are measured on; by default those of the run.
        seed: Of their draw.

    Raises:
        ValueError: If it is unknown, if there are several to choose from, or if it is another branch's.
    """
    if train is not None and "@" not in (bank or ""):
        raise ValueError(
            f"--train {train} with the bank {bank or 'of a branch'}: it is not measured on training "
            "images. Leave it out, or name a bank that is measured, as --bank clean@BRANCH."
        )
    if bank is None:
        return Choice(named.branch(branch), made="of the model")
    if bank.endswith(".safetensors"):
        own = Bank.load(bank).branch
        branch = named.branch(branch or (own if own in named.classifier.branches else None))
        return replace(_named(named, bank, train, seed), branch=branch)
    choice = _named(named, bank, train, seed)
    if branch not in (None, choice.branch):
        raise ValueError(
            f"--branch {named.branch(branch)} with --bank {bank}, which uses the affine of {choice.branch}: "
            "only a bank file needs a branch to be put in. Leave --branch out."
        )
    return choice


def _named(named: NamedModel, name: str, source: str | None, seed: int) -> Choice:
    train = named.images(source, "train") if source else None
    if train is None and "@" in name and named.about:
        train, _ = read(named.config)
    training = TrainingImages(train, seed=seed, make_view=views_of(named, train) if train else None)
    return choose(named.classifier, [name], named.classifier.branches, training)[name]
