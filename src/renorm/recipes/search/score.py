"""Tables of searches: of cells ordered by shared weights, against the benchmark's own; of a mixture, and the cell it found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any

from torch import Tensor

from renorm.data import CellTable, Images, sample
from renorm.evaluate import ImageSet, Measured, MeasuredTable, Protocol, Results, fingerprint, versions
from renorm.metrics import RankAgreement, better_third, bootstrap
from renorm.recipes.asked import Evaluation
from renorm.recipes.search.asked import (
    BATCH,
    PARAMETERS,
    RECALIBRATED,
    TABLE,
    TRAINED,
    USUAL_IMAGES,
    USUAL_JUDGED,
    RankOptions,
)
from renorm.recipes.search.config import Config
from renorm.recipes.search.mixture import mixture_numbers, predicted
from renorm.recipes.search.opened import SearchRun, table_of
from renorm.recipes.search.ranking import (
    CEILING,
    FEWEST,
    Ranking,
    measured_on,
    rank,
    sampled,
    training_batches,
    usual_ways,
)
from renorm.recipes.search.recipe import halves

MIXTURE, FOUND = "mixture", "found"
CELLS, ACCURACY = "cells", "mean accuracy"  # what a ranking's numbers are over, and the measure that has one for each
MADE = {
    TRAINED: "running statistics as training left them, those of a cell's conditions where norms have some",
    BATCH: "statistics of the judged images themselves, which sees other images to predict",
    PARAMETERS: "how many parameters a cell has",
    TABLE: "accuracy in the table",
}


def prepare(run: SearchRun, asked: Evaluation, *, model: str = "", command: str = "") -> MeasuredTable:
    """The table of a mixture and of the cell that it found.

    Raises:
        ValueError: If single paths were trained, or there is no such bank.
    """
    if not run.config.mixes:
        raise ValueError(
            f"{model or 'this'} trained single paths: a cell or several are needed to evaluate, each by statistics of its own. "
            f"Rank them: renorm rank {model or 'RUN'}."
        )
    names = _known(asked.banks, (MIXTURE, FOUND))
    images = sample(run.test, asked.num_images, asked.seed) if asked.num_images else run.test
    made = {
        MIXTURE: "all operations by their weights, norms by the batch, conditions of the largest weights",
        FOUND: f"the cell of the largest weights, {run.net.found}, in the benchmark",
    }
    protocol = _protocol(run, images, asked.seed, {name: made[name] for name in names}, model, command)
    table = table_of(run.config.table, run.config.column, len(run.classifier.classes))

    def measured(bank: str) -> dict[str, Measured]:
        return _mixed(run, images, asked.seed) if bank == MIXTURE else _found(run, table)

    return MeasuredTable(protocol, measured, "clean", notes=[f"found {run.net.found}"])


def _mixed(run: SearchRun, images: Images, seed: int) -> dict[str, Measured]:
    losses, hits = predicted(run.classifier, images)
    numbers = {name: _mean(values, seed) for name, values in (("mixture's accuracy", hits), ("mixture's loss", losses))}
    return numbers | {"entropy": Measured(mixture_numbers(run.net, None)["entropy"], 6)}


def _found(run: SearchRun, table: CellTable | None) -> dict[str, Measured]:
    cell = run.net.found
    numbers = {"edges without parameters": Measured(cell.free_edges, 6)}
    if table is not None:
        numbers["accuracy in the table"] = Measured(table.accuracy(cell) / 100, 1)
        numbers["percentile in the table"] = Measured(table.percentile(cell), 1)
    return numbers


def prepare_ranking(run: SearchRun, asked: RankOptions, *, model: str = "", command: str = "") -> MeasuredTable:
    """The table of a ranking: a bank for each thing that orders cells.

    Args:
        run: Trained by single paths.
        asked: Which cells, by what, on how many images.
        model: What the table calls it.
        command: What was typed, if anything was.

    Raises:
        ValueError: For a run of a mixture, no table, too few cells or images, or an unknown bank.
    """
    table = _table(run, asked, model)
    images = min(USUAL_IMAGES, len(halves(len(run.images), run.config.seed)[0]))
    usual = [each if each != RECALIBRATED else f"{RECALIBRATED}:{images}" for each in usual_ways(run.net)]
    banks = asked.banks or (*usual, PARAMETERS, TABLE)
    ways = [bank for bank in banks if bank not in (PARAMETERS, TABLE)]
    cells, judged = sampled(asked.num_cells, asked.seed), _judged(run, asked)
    training = _training(run, ways, asked.seed)
    which = f"; {len(cells)} cells of seed {asked.seed} on {len(judged)} images"
    made = {bank: MADE.get(bank, f"measured through each path on {bank.partition(':')[2]} images") for bank in banks}
    protocol = _protocol(run, judged, asked.seed, {k: v + which for k, v in made.items()}, model, command)

    @cache
    def ranked() -> Ranking:
        return rank(run.net, cells, table, judged, training, ways=ways or (BATCH,))

    notes = [
        f"{len(cells)} of 15,284 cells, {len(judged):,} test images of {judged.name}, {table}",
        f"two cells of one graph, which differ by their seeds only, agree by a tau of {CEILING} in the table (CIFAR-10)",
    ]

    def measured(bank: str) -> dict[str, Measured]:
        try:
            return numbers_of(ranked(), bank, asked.seed)
        except ValueError as error:
            raise ValueError(f"the bank {bank}: {error}") from error

    return MeasuredTable(protocol, measured, CELLS, notes=notes)


def numbers_of(found: Ranking, bank: str, seed: int) -> dict[str, Measured]:
    """What a table says of one bank of a ranking; agreements are with the benchmark."""
    if bank == TABLE:
        return {
            "accuracy in the table": _mean(found.truth / 100, seed),
            "best cell in the table": Measured(float(found.truth.max()) / 100, 1),
        }
    values = found.values(bank)
    numbers = {"parameters" if bank == PARAMETERS else ACCURACY: _mean(values, seed)}
    numbers |= _by_third(found, lambda better: found.agreement(bank, seed, better=better))
    best = found.truth[found.cells.index(found.best(bank))]
    numbers["best cell in the table"] = Measured(float(best) / 100, 1)
    if bank.startswith(RECALIBRATED) and TRAINED in found.accuracy:
        numbers |= _by_third(found, lambda better: found.gain(bank, TRAINED, seed, better=better), " more than trained")
    if bank in found.moved:
        numbers["distance from trained"] = _mean(found.moved[bank], seed)
    return numbers


def accuracies(results: Results) -> dict[str, Tensor]:
    """Of each bank that evaluates cells, how accurate each of them is."""
    return {bank: values for (bank, _, _), values in results.values.get(ACCURACY, {}).items() if bank in results.banks}


def _by_third(found: Ranking, agreement: Callable[[bool], RankAgreement], more: str = "") -> dict[str, Measured]:
    """Both correlations over all cells, and over the better third where that is enough of them."""
    numbers = {}
    for better in (False, True) if int(better_third(found.truth).sum()) >= FEWEST else (False,):
        tau, rho, count = agreement(better)
        for name, each in (("tau", tau), ("rho", rho)):
            what = f"{name}{more}{', better third' if better else ''}"
            numbers[what] = Measured(each.value, count, each.low, each.high)
    return numbers


def _mean(values: Tensor, seed: int) -> Measured:
    found = bootstrap([values], seed)
    return Measured(found.value, len(values), found.low, found.high, values)


def _table(run: SearchRun, asked: RankOptions, model: str) -> CellTable:
    if run.config.mixes:
        raise ValueError(
            f"{model or 'this'} was trained as a mixture, by --method {run.config.method}: to rank cells, weights that were "
            "trained along single paths are needed. Train renorm search --method paths --statistics shared."
        )
    path, column = asked.table or run.config.table, asked.column or run.config.column
    table = table_of(path, column, len(run.classifier.classes))
    if table is None:
        raise ValueError(
            "no table to judge cells by: a file with the accuracies of all cells is needed. Add --table FILE; the page on data "
            "says how it is made."
        )
    return table


def _judged(run: SearchRun, asked: RankOptions) -> Images:
    number = min(USUAL_JUDGED, len(run.test)) if asked.num_images is None else asked.num_images
    return sample(run.test, number, asked.seed) if number else run.test


def _training(run: SearchRun, ways: Sequence[str], seed: int) -> Callable[[int | None], Any]:
    first, _ = halves(len(run.images), run.config.seed)
    most = max([2, *(measured_on(way) or USUAL_IMAGES for way in ways if way not in (TRAINED, BATCH))])
    if most > len(first):
        raise ValueError(
            f"{RECALIBRATED}:{most} was asked for, and cells were trained on {len(first):,} images. They can be measured on as "
            f"many at most. Name a smaller number."
        )
    return training_batches(run.images.subset(first), most, 128, run.net.alpha, seed)


def _known(banks: Sequence[str], known: Sequence[str]) -> Sequence[str]:
    if unknown := [bank for bank in banks if bank not in known]:
        raise ValueError(f"no bank {unknown[0]!r}: one of {', '.join(known)} is needed. Name some of these.")
    return banks or known


def in_words(config: Config) -> str:
    """How a supernet was trained."""
    how = f"{config.norm} norms, statistics by {config.statistics}, width {config.width}, {config.cells} cells a stage"
    return f"{config.method}, {how}, {config.epochs} epochs, seed {config.seed}"


def _protocol(
    run: SearchRun, images: Images, seed: int, banks: Mapping[str, str], model: str, command: str
) -> Protocol:
    config, classifier = run.config, run.classifier
    return Protocol(
        data=ImageSet.of(images),
        classes=len(classifier.classes),
        seed=seed,
        model=model,
        training=in_words(config),
        weights=fingerprint(run.net),
        mean=tuple(classifier.mean),
        std=tuple(classifier.std),
        banks=banks,
        versions=versions(classifier.device),
        command=command,
    )
