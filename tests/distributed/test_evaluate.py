"""Ranks that share the shifts of an evaluation end with the table of one process, exactly."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from renorm.data import Images, load
from renorm.evaluate import Adapted, Choice, Classifier, Results, evaluate
from renorm.shifts import Shift, make_shifts
from tests.distributed.ranks import on_ranks
from tests.evaluate.conftest import BRANCHES, make_classifier, make_view

CHOICES = {name: Choice(name) for name in BRANCHES}


def setting() -> tuple[Classifier, Images, list[Shift]]:
    images = load("digits", split="test").subset(range(40))
    other = Shift("other", images=images.subset(range(20)))
    return (
        make_classifier(images),
        images,
        [*make_shifts(["clean", "gaussian_noise:1", "contrast:2"], make_view), other],
    )


def plain(results: Results) -> dict[str, Any]:
    hits = {json.dumps(cell): hits for cell, hits in results.hits.items()}
    return {"rows": [asdict(row) for row in results.rows], "hits": hits, "protocol": results.protocol.to_json()}


def share(rank: int, folder: str) -> dict[str, Any]:
    """The table with and without adapted banks, and which shifts this rank evaluated when one was finished already."""
    classifier, images, chosen = setting()
    group = dist.group.WORLD
    found = {"whole": plain(evaluate(classifier, images, CHOICES, chosen, group=group))}
    adapt = Adapted(classifier, images, BRANCHES, 8)
    found["adapted"] = plain(evaluate(classifier, images, CHOICES, chosen, adapt=adapt, group=group))
    # the disk of the first rank counts: only it has a finished shift
    out = Path(folder) / f"{rank}.csv"
    if rank == 0:
        evaluate(classifier, images, CHOICES, [chosen[0], chosen[2]], out=out)
    told: list[str] = []
    again = evaluate(
        classifier,
        images,
        CHOICES,
        chosen,
        out=out,
        group=group,
        callback=lambda d, n, shift: told.append(shift.label),
    )
    assert out.exists() == (rank == 0)
    return found | {"resumed": plain(again), "told": told}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return on_ranks(3, share, str(tmp_path_factory.mktemp("partial")))


def test_ranks_give_the_table_of_one_process(ranks: list[Any]):
    classifier, images, chosen = setting()
    whole = plain(evaluate(classifier, images, CHOICES, chosen))
    adapted = plain(evaluate(classifier, images, CHOICES, chosen, adapt=Adapted(classifier, images, BRANCHES, 8)))
    for each in ranks:
        for name, expected in (("whole", whole), ("adapted", adapted), ("resumed", whole)):
            assert sorted(each[name]["rows"], key=str) == sorted(expected["rows"], key=str)
            assert each[name]["protocol"] == expected["protocol"]
            assert all((each[name]["hits"][cell] == hits).all() for cell, hits in expected["hits"].items())


def test_each_shift_that_is_left_is_evaluated_once(ranks: list[Any]):
    told = [each["told"] for each in ranks]
    assert told == [["gaussian_noise 1"], ["other"], []]
