"""An evaluation that was stopped goes on where it was, to the same table; another one never takes its parts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import renorm
from renorm.data import Images
from renorm.evaluate import Adapted, Choice, Classifier, PartialTable, Results, describe, evaluate, table
from renorm.shifts import Shift, shifts
from tests.evaluate.conftest import BRANCHES, make_view

CHOICES = {name: Choice(name) for name in BRANCHES}


@pytest.fixture
def chosen(images: Images) -> list[Shift]:
    other = Shift("other", images=images.subset(range(20)), outputs=torch.arange(10))
    return [*shifts(["clean", "gaussian_noise:1", "contrast:2", "contrast:3"], make_view), other]


def run(
    classifier: Classifier, images: Images, chosen: list[Shift], root: Path, **options: Any
) -> tuple[Results, PartialTable]:
    partial = PartialTable.under(root, describe(classifier, images, CHOICES, chosen), chosen)
    return evaluate(classifier, images, CHOICES, chosen, partial=partial, **options), partial


def stop_at(label: str) -> Any:
    def callback(done: float, total: int, shift: Shift) -> None:
        if shift.label == label:
            raise KeyboardInterrupt

    return callback


def same(a: Results, b: Results) -> None:
    assert a.rows == b.rows
    assert a.protocol == b.protocol
    assert a.hits.keys() == b.hits.keys()
    assert all(torch.equal(hits, b.hits[cell]) for cell, hits in a.hits.items())


def names_evaluated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Labels of the shifts that are evaluated from now on."""
    found: list[str] = []
    original = table.evaluate_shift

    def counted(classifier: Any, images: Any, choices: Any, shift: Shift, *rest: Any) -> Any:
        found.append(shift.label)
        return original(classifier, images, choices, shift, *rest)

    monkeypatch.setattr(table, "evaluate_shift", counted)
    return found


def test_a_stopped_evaluation_goes_on(
    classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = evaluate(classifier, images, CHOICES, chosen)
    with pytest.raises(KeyboardInterrupt):
        run(classifier, images, chosen, tmp_path / "partial", callback=stop_at("contrast 3"))
    assert all(module.training for module in classifier.model.modules())
    evaluated = names_evaluated(monkeypatch)
    again, partial = run(classifier, images, chosen, tmp_path / "partial")
    assert evaluated == ["contrast 3", "other"]
    same(again, whole)
    evaluated.clear()
    same(run(classifier, images, chosen, tmp_path / "partial")[0], whole)
    assert evaluated == []
    partial.remove()
    assert not (tmp_path / "partial").exists()


def test_progress_goes_on_too(classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path):
    with pytest.raises(KeyboardInterrupt):
        run(classifier, images, chosen, tmp_path, callback=stop_at("contrast 2"))
    told: list[tuple[float, int]] = []
    run(classifier, images, chosen, tmp_path, callback=lambda done, total, shift: told.append((done, total)))
    assert told == [(6, 10), (8, 10), (10, 10)]


def test_another_evaluation_has_another_place(
    classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path
):
    def place(images: Images = images, choices: Any = CHOICES, chosen: list[Shift] = chosen, adapt: Any = None) -> Path:
        protocol = describe(classifier, images, choices, chosen, adapt)
        return PartialTable.under(tmp_path, protocol, chosen).folder

    own = place()
    assert own == place()
    made, read = chosen[:-1], chosen[-1]
    others = [
        place(images.subset(range(47))),
        place(choices={"weak": CHOICES["weak"]}),
        place(choices=CHOICES | {"weak": replace(CHOICES["weak"], made="another")}),
        place(chosen=chosen[::-1]),
        place(chosen=[replace(shift, scale=224) for shift in made] + [read]),
        place(chosen=[replace(shift, rounding="jpeg") for shift in made] + [read]),
        place(chosen=[replace(shift, seed=1) for shift in made] + [read]),
        place(chosen=[*made, replace(read, images=images.subset(range(1, 21)))]),
        place(chosen=[*made, replace(read, outputs=torch.arange(1, 11))]),
        place(adapt=Adapted(classifier, images, BRANCHES, 8).made),
        place(adapt=Adapted(classifier, images, BRANCHES, 9).made),
    ]
    classifier.model.get_buffer("bn1.running_mean").add_(1e-3)
    assert len({own, *others, place()}) == len(others) + 2


def test_what_was_typed_makes_no_difference(
    classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path
):
    one, other = (describe(classifier, images, CHOICES, chosen, command=text) for text in ("a", "b"))
    assert PartialTable.under(tmp_path, one, chosen) == PartialTable.under(tmp_path, other, chosen)


def test_a_damaged_part_is_made_again(
    classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    whole, partial = run(classifier, images, chosen, tmp_path)
    (partial.folder / "1.safetensors").write_bytes((partial.folder / "1.safetensors").read_bytes()[:-3])
    (partial.folder / "2.safetensors").write_bytes(b"")
    renorm.Bank.of(classifier.model, branch="weak").save(partial.folder / "3.safetensors")
    evaluated = names_evaluated(monkeypatch)
    same(run(classifier, images, chosen, tmp_path)[0], whole)
    assert evaluated == ["gaussian_noise 1", "contrast 2", "contrast 3"]


def test_adapted_banks_are_kept_as_well(classifier: Classifier, images: Images, chosen: list[Shift], tmp_path: Path):
    adapt = Adapted(classifier, images, BRANCHES, 8)
    protocol = describe(classifier, images, CHOICES, chosen, adapt.made)
    partial = PartialTable.under(tmp_path, protocol, chosen)
    options: dict[str, Any] = {"adapt": adapt, "protocol": protocol}
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, images, CHOICES, chosen, partial=partial, callback=stop_at("contrast 2"), **options)
    again = evaluate(classifier, images, CHOICES, chosen, partial=partial, **options)
    same(again, evaluate(classifier, images, CHOICES, chosen, **options))
    assert {row.bank for row in again.rows} == {*BRANCHES, "adapted@weak", "adapted@strong"}
