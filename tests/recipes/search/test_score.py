"""What tables and pages say of searches: numbers of each bank, and words where there is nothing to rank or to find."""

from __future__ import annotations

import pytest
import torch

from renorm.evaluate import Protocol, Results
from renorm.metrics import kendall
from renorm.models import EDGES, OPERATIONS, Cell
from renorm.recipes import read_config
from renorm.recipes.search import Config, Ranking, sampled
from renorm.recipes.search.opened import table_of
from renorm.recipes.search.score import numbers_of
from renorm.recipes.search.sections import alone, findings
from renorm.report import Record


def ranking(number: int) -> Ranking:
    draws = torch.Generator().manual_seed(0)
    truth = 80 + 10 * torch.rand(number, dtype=torch.float64, generator=draws)
    noise = [torch.rand(number, dtype=torch.float64, generator=draws) for _ in range(2)]
    accuracy = {"trained": truth / 100 + 0.3 * noise[0], "recalibrated:64": truth / 100 + 0.1 * noise[1]}
    return Ranking(sampled(number, 0), truth, accuracy, 1000 * truth.round(), {"recalibrated:64": noise[0]}, 50)


def test_a_recalibrated_bank_says_what_it_gains_over_the_trained_one():
    found = ranking(120)
    numbers = numbers_of(found, "recalibrated:64", 0)
    gain = kendall(found.accuracy["recalibrated:64"], found.truth) - kendall(found.accuracy["trained"], found.truth)
    assert numbers["tau more than trained"].value == pytest.approx(gain)
    assert numbers["tau more than trained"].count == 120
    assert numbers["tau, better third"].count == 40
    assert numbers["distance from trained"].value == pytest.approx(float(found.moved["recalibrated:64"].mean()))
    best = found.truth[int(found.accuracy["recalibrated:64"].argmax())]
    assert numbers["best cell in the table"].value == pytest.approx(float(best) / 100)
    assert "tau more than trained" not in numbers_of(found, "trained", 0)
    assert numbers_of(found, "parameters", 0)["tau"].value == pytest.approx(kendall(found.params, found.truth))
    assert numbers_of(found, "table", 0).keys() == {"accuracy in the table", "best cell in the table"}


def test_nothing_is_said_of_a_better_third_of_few_cells():
    assert "tau, better third" not in numbers_of(ranking(60), "trained", 0)


def record(cell: Cell, method: str = "darts") -> Record:
    last = {
        f"weight/{e}<-{s}/{o}": float(o == own)
        for (e, s), own in zip(EDGES, cell.operations, strict=True)
        for o in OPERATIONS
    }
    about = {"recipe": "search", "config": {"method": method, "data": "digits", "size": 8}}
    return Record("run", about, Results(Protocol(), []), history=[{"epoch": 3, **last}])


def test_a_cell_that_leads_nowhere_is_said_to_and_is_not_to_be_trained():
    apart = record(Cell(("none", "none", "nor_conv_3x3", "none", "skip_connect", "avg_pool_3x3")))
    assert "leads nowhere, so it guesses" in findings(apart)[0]
    assert alone(apart) is None
    cell = Cell(("skip_connect",) * 6)
    assert "6 of whose 6 edges have no parameters." in findings(record(cell))[0]
    section = alone(record(cell))
    assert section is not None
    assert f"--model 'cell:{cell}' --data digits --norm shared --branches weak --size 8" in str(section.body[0])


def test_a_configuration_of_a_later_version_is_refused():
    assert read_config(Config, {"config": {"trackers": ["tensorboard"]}}).trackers == ("tensorboard",)
    with pytest.raises(ValueError, match=r"options that this renorm does not know \('colour'\).*Upgrade renorm"):
        read_config(Config, {"config": {"colour": 3}})


def test_a_column_is_of_the_data_that_cells_see():
    assert table_of(None, "cifar100", 10) is None
    with pytest.raises(
        ValueError, match=r"imagenet16-120 is of 120 classes, and the images are of 100: .*leave --table out"
    ):
        table_of("any.parquet", "imagenet16-120", 100)
    with pytest.raises(ValueError, match=r"the column 'cifar10_12' was asked for"):
        table_of(__file__, "cifar10_12", 10)
