"""Accuracy against the number of images: who is adapted to and judged, each point, the mean over draws, going on."""

import copy
import csv
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

import renorm
from renorm.data import Images
from renorm.evaluate import Choice, Classifier, Curve, CurvePlan, Method, describe, logits
from renorm.evaluate import curve as module
from renorm.evaluate.curve import forget_partial, make_curve, partial_under, read_points, write_curve
from renorm.evaluate.curve_points import CurvePoint, Points, one_draw, plan_curve
from renorm.metrics import over_runs
from renorm.shifts import Shift

METHODS = [Method.named(name) for name in ("source", "8", "replacement:mean")]
SHIFTS = [Shift("contrast", 4, scale=32), Shift("gaussian_blur", 1, scale=32)]
planned = partial(plan_curve, methods=METHODS, sizes=(8, 2), draws=2, num_judged=10, seed=5)


def drawn(classifier: Classifier, images: Images, how: CurvePlan, root: Path | None = None) -> Curve:
    choices = {name: Choice("weak", made=method.made) for name, method in how.methods.items()}
    protocol = describe(classifier, images, choices, SHIFTS, model="net", command="renorm adapt")
    partial = None if root is None else partial_under(root, SHIFTS, how, protocol, "weak")
    return make_curve(classifier, images, SHIFTS, how, protocol, branch="weak", partial=partial)


def fake(classifier: Classifier, images: Images, shift: Shift, how: CurvePlan, draw: int, *rest: object) -> Points:
    return {
        name: [CurvePoint((draw + place) / 10 + shift.severity / 100, 0.25 * draw) for place in range(2)]
        for name in how.methods
    }


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "one_draw", fake)


def test_no_image_is_both_judged_and_adapted_to(images: Images):
    how = planned(images)
    assert len(how.judged) == 10
    assert sorted([*how.judged.tolist(), *how.pool.tolist()]) == list(range(48))
    assert how.sizes == (2, 8)
    first, second = how.few(0), how.few(1)
    assert set(first.tolist()) <= set(how.pool.tolist())
    assert len(first.unique()) == 8
    assert not torch.equal(first, second)
    assert torch.equal(planned(images).few(1), second)
    assert not torch.equal(planned(images, seed=6).judged, how.judged)


def test_sizes_go_as_far_as_half_of_the_images(images: Images):
    assert planned(images, sizes=(), num_judged=0).sizes == (1, 4, 8, 16)
    assert len(planned(images, sizes=(), num_judged=0).judged) == 24
    assert planned(images, sizes=(), num_judged=10).sizes == (1, 4, 8, 16, 32)


@pytest.mark.parametrize(
    "options", [{"draws": 1}, {"sizes": (0, 4)}, {"sizes": (39,)}, {"num_judged": -1}, {"sizes": (-4,)}]
)
def test_what_cannot_be_drawn_is_refused(images: Images, options: dict[str, Any]):
    with pytest.raises(ValueError, match=r"cannot be made of the 48 images .* are needed, .*Give more"):
        planned(images, **options)


def test_unlabelled_images_are_refused(images: Images):
    unlabelled = replace(images, labels=torch.full_like(images.labels, -1))
    with pytest.raises(
        ValueError, match=r"images without a label: accuracy needs the class of every image. Put images"
    ):
        planned(unlabelled)


def test_each_point_is_that_of_a_copy_adapted_by_hand(classifier: Classifier, images: Images):
    how, shift, shares = planned(images), SHIFTS[0], []
    before = copy.deepcopy(classifier.model.state_dict())
    found = one_draw(classifier, images, shift, how, 1, "weak", shares.append)
    torch.testing.assert_close(classifier.model.state_dict(), before, rtol=0, atol=0)
    assert shares[-1] == 1
    seen = images.subset(how.judged)
    shown = replace(seen, pixels=shift(seen.batch(range(10))[0], how.judged))
    for name, line in found.items():
        for size, point in zip(how.sizes, line, strict=True):
            few = how.few(1)[:size]
            own = Classifier(copy.deepcopy(classifier.model), classifier.mean, classifier.std)
            if name != "source":
                method = how.methods[name]
                x = own.normalize(torch.cat([shift(images.batch([i])[0], torch.tensor([i])) for i in few.tolist()]))
                adaptation = renorm.adapt_(own.model, x, method.prior, "weak", only=method.only)
                assert point.source_weight == adaptation.source_weight
            y = logits(own, shown, {"it": Choice("weak")})["it"]
            assert point.accuracy == pytest.approx(float((y.argmax(1) == seen.labels).double().mean()))
    assert {point.source_weight for point in found["source"]} == {1.0}


@pytest.mark.usefixtures("quick")
def test_bands_are_over_draws_of_the_mean_over_shifts(classifier: Classifier, images: Images, tmp_path: Path):
    found = drawn(classifier, images, planned(images))
    cell = found.line("prior 8")[1]
    means = [(draw + 1) / 10 + (0.04 + 0.01) / 2 for draw in range(2)]
    assert cell.by_draw == pytest.approx(means)
    assert cell.accuracy == pytest.approx(over_runs(means))
    assert cell.source_weight == pytest.approx(0.125)
    assert found.line("source", "contrast")[0].by_draw == pytest.approx([0.04, 0.14])
    write_curve(tmp_path / "c.csv", found)
    with (tmp_path / "c.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["method"], line["images"], line["shift"]) for line in lines[:6]] == [
        ("source", size, name) for name in ("contrast", "gaussian_blur", "mean") for size in ("2", "8")
    ]
    (mean,) = [line for line in lines if (line["method"], line["images"], line["shift"]) == ("prior 8", "8", "mean")]
    assert [float(mean[name]) for name in ("accuracy", "low", "high")] == pytest.approx(list(cell.accuracy))
    assert [float(each) for each in mean["by_draw"].split()] == pytest.approx(means)
    assert (mean["draws"], mean["judged"], mean["seed"], mean["command"]) == ("2", "10", "5", "renorm adapt")
    assert (mean["recipe"], mean["data_hash"]) == ("adapted to images of the shift, prior 8", images.fingerprint)
    assert "2 draws" in found.caption
    assert "seeds 6 to 7" in found.caption
    assert "renorm adapt" in found.caption


@pytest.mark.usefixtures("quick")
def test_it_goes_on_where_it_stopped_and_more_draws_use_the_former(
    classifier: Classifier, images: Images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    done: list[tuple[str, int]] = []

    def counted(
        classifier: Classifier, images: Images, shift: Shift, how: CurvePlan, draw: int, *rest: object
    ) -> Points:
        if len(done) == 3:
            raise KeyboardInterrupt
        done.append((shift.name, draw))
        return fake(classifier, images, shift, how, draw)

    monkeypatch.setattr(module, "one_draw", counted)
    with pytest.raises(KeyboardInterrupt):
        drawn(classifier, images, planned(images), tmp_path)
    monkeypatch.setattr(module, "one_draw", fake)
    (folder,) = tmp_path.iterdir()
    (folder / "0-1.json").write_text('{"source": [[0.5')
    assert read_points(folder / "0-1.json") is None
    (folder / "0-0.json").write_text((folder / "0-0.json").read_text().replace("0.04,", "0.99,"))
    again = drawn(classifier, images, planned(images), tmp_path)
    assert again.draws[0][0]["source"][0].accuracy == 0.99
    assert again.draws[0][1] == fake(classifier, images, SHIFTS[0], again.plan, 1)
    assert drawn(classifier, images, planned(images, draws=3), tmp_path).draws[0][:2] == again.draws[0]
    other = drawn(classifier, images, planned(images, seed=9), tmp_path)
    assert other.draws[0][0]["source"][0].accuracy == 0.04
    forget_partial(folder)
    assert len(list(tmp_path.iterdir())) == 1
    forget_partial(next(tmp_path.iterdir()))
    assert not tmp_path.exists()
