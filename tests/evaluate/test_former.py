"""An evaluation that was stopped goes on where it was, to the same table; another one never takes its cells."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from renorm.data import Images
from renorm.evaluate import Adapted, Choice, Classifier, Results, describe, evaluate, read_former, read_results, table
from renorm.shifts import Shift, make_shifts
from tests.evaluate.conftest import BRANCHES, make_view

CHOICES = {name: Choice(name) for name in BRANCHES}


@pytest.fixture
def chosen(images: Images) -> list[Shift]:
    other = Shift("other", images=images.subset(range(20)), outputs=torch.arange(10))
    return [*make_shifts(["clean", "gaussian_noise:1", "contrast:2", "contrast:3"], make_view), other]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "results.csv"


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
    classifier: Classifier, images: Images, chosen: list[Shift], out: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = evaluate(classifier, images, CHOICES, chosen)
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, images, CHOICES, chosen, out=out, callback=stop_at("contrast 3"))
    assert all(module.training for module in classifier.model.modules())
    assert read_results(out).missing == ("contrast 3", "other")
    evaluated = names_evaluated(monkeypatch)
    same(evaluate(classifier, images, CHOICES, chosen, out=out), whole)
    assert evaluated == ["contrast 3", "other"]
    same(read_results(out), whole)
    assert read_results(out).missing == ()
    evaluated.clear()
    same(evaluate(classifier, images, CHOICES, chosen, out=out), whole)
    assert evaluated == []
    assert sorted(path.name for path in out.parent.iterdir()) == ["results.csv", "results.safetensors"]


def test_progress_goes_on_too(classifier: Classifier, images: Images, chosen: list[Shift], out: Path):
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, images, CHOICES, chosen, out=out, callback=stop_at("contrast 2"))
    told: list[tuple[float, int]] = []
    listen: Callable[..., None] = lambda done, total, shift: told.append((done, total))  # noqa: E731
    evaluate(classifier, images, CHOICES, chosen, out=out, callback=listen)
    assert told == [(6, 10), (8, 10), (10, 10)]


def test_banks_and_shifts_are_added_to_a_table_that_was_made_in_the_same_way(
    classifier: Classifier, images: Images, chosen: list[Shift], out: Path, monkeypatch: pytest.MonkeyPatch
):
    whole = evaluate(classifier, images, CHOICES, chosen)
    evaluate(classifier, images, {"weak": CHOICES["weak"]}, chosen[:3], out=out)
    evaluated = names_evaluated(monkeypatch)
    added = evaluate(classifier, images, CHOICES, chosen, out=out)
    assert evaluated == [shift.label for shift in chosen]
    same(added, whole)
    same(read_results(out), whole)


def test_a_table_that_was_made_otherwise_is_not_added_to(
    classifier: Classifier, images: Images, chosen: list[Shift], out: Path
):
    adapt = Adapted(classifier, images, BRANCHES, 8).made
    evaluate(classifier, images, CHOICES, chosen, out=out)

    def unlike(images: Images = images, choices: Any = CHOICES, chosen: list[Shift] = chosen, adapt: Any = None) -> str:
        return read_former(out, describe(classifier, images, choices, chosen, adapt), chosen).unlike

    assert unlike() == ""
    assert unlike(choices={"weak": CHOICES["weak"]}) == unlike(chosen=chosen[::-1]) == unlike(adapt=adapt) == ""
    made, read = chosen[:-1], chosen[-1]
    for found, expected in (
        (unlike(images.subset(range(47))), "other data: 48 of digits, now 47 of digits"),
        (
            unlike(choices=CHOICES | {"weak": replace(CHOICES["weak"], made="another")}),
            "another bank weak: .*another",
        ),
        (unlike(chosen=[replace(shift, scale=224) for shift in made] + [read]), "other scale: 32, now 224"),
        (
            unlike(chosen=[replace(shift, rounding="jpeg") for shift in made] + [read]),
            "other rounding: 8-bit, now jpeg",
        ),
        (unlike(chosen=[replace(shift, seed=1) for shift in made] + [read]), "other seed: 0, now 1"),
        (unlike(chosen=[*made, replace(read, images=images.subset(range(1, 21)))]), "other images under other"),
        (unlike(chosen=[*made, replace(read, outputs=torch.arange(1, 11))]), "other images under other"),
        (unlike(chosen=[*made, replace(read, images=None, outputs=None)]), "other images under other"),
    ):
        assert re.search(expected, found), found
    classifier.model.get_buffer("bn1.running_mean").add_(1e-3)
    assert "other weights" in unlike()


def test_adapted_banks_of_another_number_of_images_make_another_table(
    classifier: Classifier, images: Images, chosen: list[Shift], out: Path
):
    few = chosen[:1]
    evaluate(classifier, images, CHOICES, few, adapt=Adapted(classifier, images, BRANCHES, 8), out=out)
    protocol = describe(classifier, images, CHOICES, few, Adapted(classifier, images, BRANCHES, 9).made)
    assert "another bank adapted@weak: adapted to 8 images" in read_former(out, protocol, few).unlike


def test_a_table_that_makes_place_is_kept(classifier: Classifier, images: Images, chosen: list[Shift], out: Path):
    old = evaluate(classifier, images, CHOICES, chosen[:1], out=out)
    few = images.subset(range(40))
    new = evaluate(classifier, few, CHOICES, chosen[:1], out=out)
    same(read_results(out), new)
    same(read_results(out.with_name("results.1.csv")), old)
    evaluate(classifier, images.subset(range(30)), CHOICES, chosen[:1], out=out)
    same(read_results(out.with_name("results.2.csv")), new)
    out.write_text("damaged")
    evaluate(classifier, few, CHOICES, chosen[:1], out=out)
    assert out.with_name("results.3.csv").read_text() == "damaged"
    same(read_results(out), new)


def test_a_table_gets_no_holes(classifier: Classifier, images: Images, chosen: list[Shift], out: Path):
    evaluate(classifier, images, CHOICES, chosen[:2], out=out)
    weak = {"weak": CHOICES["weak"]}

    def unlike(choices: Any, chosen: list[Shift]) -> str:
        return read_former(out, describe(classifier, images, choices, chosen), chosen).unlike

    assert unlike(weak, chosen[:1]) == unlike(weak, chosen[:2]) == unlike(CHOICES, chosen[2:]) == ""
    assert unlike(weak, chosen[1:]) == "other banks, weak strong, under other shifts"
    assert unlike({"weak+": Choice("weak")}, chosen[1:2]) == "other banks, weak strong, under other shifts"


def test_what_was_typed_makes_no_difference(classifier: Classifier, images: Images, chosen: list[Shift], out: Path):
    for text in ("a", "b", "b"):
        protocol = describe(classifier, images, CHOICES, chosen[:1], command=text)
        found = evaluate(classifier, images, CHOICES, chosen[:1], protocol=protocol, out=out)
    assert found.protocol.command == "a"  # the others added nothing
    added = evaluate(classifier, images, CHOICES, chosen[:2], protocol=replace(protocol, command="c"), out=out)
    assert added.protocol.command == "a; c"
    assert not out.with_name("results.1.csv").exists()


def test_adapted_banks_go_on_as_well(classifier: Classifier, images: Images, chosen: list[Shift], out: Path):
    options: dict[str, Any] = {"adapt": Adapted(classifier, images, BRANCHES, 8)}
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, images, CHOICES, chosen, out=out, callback=stop_at("contrast 2"), **options)
    again = evaluate(classifier, images, CHOICES, chosen, out=out, **options)
    same(again, evaluate(classifier, images, CHOICES, chosen, **options))
    assert set(again.banks) == {*BRANCHES, "adapted@weak", "adapted@strong"}
