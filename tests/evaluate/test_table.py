from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm import metrics
from renorm.data import Images, load
from renorm.evaluate import Adapted, Choice, Classifier, TrainingImages, choose, evaluate, logits, usual
from renorm.models import create
from renorm.shifts import Shift, make_shifts
from tests.evaluate.conftest import BRANCHES, make_view


def outputs(classifier: Classifier, images: Images, choice: Choice) -> Tensor:
    return logits(classifier, images, {"it": choice})["it"]


def test_a_cell_is_what_a_plain_loop_gives(classifier: Classifier, images: Images):
    (shift,) = make_shifts(["contrast:4"], make_view, seed=3)
    results = evaluate(classifier, images, {"strong": Choice("strong")}, [shift])
    x = classifier.normalize(renorm.corruptions.corrupt(images.batch(range(48))[0], "contrast", 4, range(48)))
    with torch.no_grad():
        expected = renorm.fold(classifier.model, "strong").eval()(x)
    found = {each.measure: each for each in results.rows}
    assert list(found) == ["accuracy", "nll", "ece", "top5"]
    row = found["accuracy"]
    assert torch.equal(results.hits[row.cell], metrics.correct(expected, images.labels))
    near = (expected.argsort(1, descending=True)[:, :5] == images.labels[:, None]).any(1)
    assert torch.equal(results.values["top5"][row.cell], near)
    assert found["top5"].value == near.double().mean().item()
    assert_close(found["ece"].value, metrics.ece(expected, images.labels), rtol=1e-5, atol=1e-7)
    assert (row.bank, row.shift, row.severity, row.count, row.seed) == ("strong", "contrast", 4, 48, 3)
    assert_close(row.value, metrics.accuracy(expected, images.labels))
    assert_close(found["nll"].value, metrics.nll(expected, images.labels), rtol=1e-5, atol=0)
    assert row.low is not None
    assert row.high is not None
    assert row.low <= row.value <= row.high
    assert (found["nll"].low, found["ece"].high) == (None, None)


def test_branches_clean_banks_and_mixtures(classifier: Classifier, images: Images):
    train = load("digits").subset(range(100))
    made = choose(classifier, usual(BRANCHES), BRANCHES, TrainingImages(train, num_images=64))
    assert list(made) == ["weak", "strong", "clean@weak", "clean@strong", "weak:0.5+strong:0.5"]
    clean = made["clean@strong"]
    assert clean.branch == "strong"
    assert clean.bank is not None
    assert clean.bank.samples == 64
    weak, strong = (renorm.Bank.of(classifier.model, branch=name) for name in BRANCHES)
    mixed = made["weak:0.5+strong:0.5"].bank
    assert mixed is not None
    assert_close(mixed.sites["bn1"].mean, (weak.sites["bn1"].mean + strong.sites["bn1"].mean) / 2)


def test_a_bank_is_measured_under_any_view(classifier: Classifier, images: Images):
    training = TrainingImages(images, num_images=32, seed=3, make_view=make_view)
    made = choose(classifier, ["clean@strong", "strong@strong", "strong@weak"], BRANCHES, training)
    under_strong = renorm.measure(classifier.model, training.batches(classifier, "strong"), branch="weak")
    assert made["strong@weak"].branch == "weak"
    bank, clean = made["strong@weak"].bank, made["clean@strong"].bank
    assert bank is not None
    assert clean is not None
    assert_close(bank.sites["bn1"].mean, under_strong.sites["bn1"].mean, rtol=0, atol=0)
    assert bank.distance(clean)["bn1"] > 0.01


def test_a_mixture_with_all_weight_on_one_branch_is_that_branch(classifier: Classifier, images: Images):
    made = choose(classifier, ["strong", "weak:0+strong:1"], BRANCHES, TrainingImages(None))
    found = logits(classifier, images, made)
    assert_close(found["weak:0+strong:1"], found["strong"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found["strong"], outputs(classifier, images, Choice("weak")))


def test_a_bank_file_is_used_and_another_models_is_refused(classifier: Classifier, images: Images, tmp_path: Path):
    bank = choose(classifier, ["clean@weak"], BRANCHES, TrainingImages(images))["clean@weak"]
    assert bank.bank is not None
    path = str(bank.bank.save(tmp_path / "some.safetensors"))
    (choice,) = choose(classifier, [path], BRANCHES, TrainingImages(None)).values()
    assert_close(outputs(classifier, images, choice), outputs(classifier, images, bank))
    classifier.model.get_parameter("conv1.weight").data += 1
    with pytest.raises(ValueError, match="other weights"):
        choose(classifier, [path], BRANCHES, TrainingImages(None))


def test_adapted_banks_are_those_of_adapt_(classifier: Classifier, images: Images):
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    (shift,) = make_shifts(["gaussian_noise:5"], make_view)
    made = Adapted(classifier, images, BRANCHES, num_images=32, prior=64)(shift)
    assert list(made) == ["adapted@weak", "adapted@strong"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.model.state_dict().items())
    indices = torch.randperm(48, generator=torch.Generator().manual_seed(0))[:32]
    x = classifier.normalize(shift(images.batch(indices)[0], indices))
    adaptation = renorm.adapt_(classifier.model, x, prior=64, branch="strong")
    expected = outputs(classifier, images, Choice("strong"))
    adaptation.undo()
    assert_close(outputs(classifier, images, made["adapted@strong"]), expected)


def test_a_plain_model_has_one_bank(images: Images):
    classifier = Classifier(create("resnet8"), images.mean, images.std)
    assert usual([]) == ["source"]
    made = choose(classifier, ["source", "clean@source"], [], TrainingImages(images))
    adapt = Adapted(classifier, images, [], num_images=16)
    found = evaluate(classifier, images, made, make_shifts(["clean"], make_view), adapt=adapt)
    assert found.banks == ["source", "clean@source", "adapted"]


def test_modes_are_given_back_after_an_error(images: Images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval())
    with pytest.raises(RuntimeError):
        logits(Classifier(model.append(nn.Linear(3, 2)), images.mean, images.std), images, {"source": Choice()})
    assert [module.training for module in model] == [True, False, True]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("stron", r"unknown bank 'stron': one of weak, strong, VIEW@NAME such as clean@NAME.*Did you mean strong"),
        ("clean@wek", r"unknown bank 'clean@wek'.*Did you mean clean@weak"),
        ("weak:0.5+strong:0.6", r"sum to 1.1: .* 1 in sum is needed"),
        ("weak+strong", r"cannot read the mixture 'weak\+strong'"),
        ("clean@weak", r"measured on training images, and none are given. Name them with --train"),
    ],
)
def test_unknown_banks_say_what_there_is(classifier: Classifier, name: str, message: str):
    with pytest.raises(ValueError, match=message):
        choose(classifier, [name], BRANCHES, TrainingImages(None))


def test_evaluating_nothing_is_an_error(classifier: Classifier, images: Images):
    with pytest.raises(ValueError, match=r"0 banks, 1 shifts and 48 images"):
        evaluate(classifier, images, {}, [Shift("contrast", 1)])
    with pytest.raises(ValueError, match=r"1 banks, 1 shifts and 0 images"):
        evaluate(classifier, None, {"weak": Choice("weak")}, [Shift("contrast", 1)])
    with pytest.raises(ValueError, match=r"1 banks, 1 shifts and 48 images"):
        evaluate(classifier, images, {"weak": Choice("weak")}, [Shift("none", images=images.subset([]))])
    unlabelled = replace(images, labels=torch.full((48,), -1))
    with pytest.raises(ValueError, match=r"digits has images without a label"):
        evaluate(classifier, unlabelled, {"weak": Choice("weak")}, [Shift("contrast", 1)])


def test_each_shift_is_in_a_table_once(classifier: Classifier, images: Images):
    choices = {"weak": Choice("weak")}
    with pytest.raises(
        ValueError, match=r"shifts with contrast 1 twice: one table needs each shift once.*a file for each"
    ):
        evaluate(classifier, images, choices, [Shift("contrast", 1), Shift("contrast", 1)])
    for other in (Shift("contrast", 2, rounding="none"), Shift("contrast", 2, scale=224), Shift("contrast", 2, seed=1)):
        with pytest.raises(ValueError, match=r"several seeds, scales or roundings.*Evaluate them apart"):
            evaluate(classifier, images, choices, [Shift("contrast", 1), other])


def test_classes_that_are_not_the_models_are_refused(classifier: Classifier, images: Images):
    choices = {"weak": Choice("weak")}
    for classes in (["cat", "dog"], [str(i) for i in range(12)]):
        other = replace(images, classes=classes, labels=images.labels % 2)
        with pytest.raises(
            ValueError, match=rf"digits has {len(classes)} classes and the model 10 outputs.*give images of"
        ):
            evaluate(classifier, other, choices, [Shift("contrast", 1)])
    some = replace(images, classes=["0", "1"], labels=images.labels % 2)  # numbers whose highest do not occur
    assert evaluate(classifier, some, choices, [Shift("contrast", 1)]).rows[0].count == 48


def test_of_a_part_of_the_classes_only_their_outputs_compete(classifier: Classifier, images: Images):
    columns = torch.tensor([2, 3, 7])
    members = (images.labels[:, None] == columns).any(1).nonzero()[:, 0]
    part = images.subset(members)
    relative = replace(part, labels=torch.searchsorted(columns, part.labels), classes=["two", "three", "seven"])
    found = evaluate(classifier, None, {"weak": Choice("weak")}, [Shift("some", images=relative, outputs=columns)])
    expected = outputs(classifier, part, Choice("weak"))[:, columns]
    assert torch.equal(found.hits["weak", "some", 0], expected.argmax(1) == relative.labels)
    assert {row.measure for row in found.rows} == {"accuracy", "nll", "ece"}
    assert found.protocol.data is None
    assert found.protocol.classes == 3
    assert found.protocol.stored["some"].images == len(members)
    assert found.protocol.pixels("some", 0)["rounding"] == "stored"


def test_the_protocol_says_what_was_done(classifier: Classifier, images: Images):
    chosen = make_shifts(["clean", "strong", "contrast:1"], make_view, seed=5, rounding="jpeg")
    adapt = Adapted(classifier, images, BRANCHES, num_images=8, prior=64)
    protocol = evaluate(classifier, images, {"weak": Choice("weak", made="own")}, chosen, adapt=adapt).protocol
    assert protocol.data is not None
    assert (protocol.data.fingerprint, protocol.data.images, protocol.classes) == (images.fingerprint, 48, 10)
    assert (protocol.scale, protocol.rounding, protocol.seed) == (32, "jpeg", 5)
    assert protocol.banks == {"weak": "own"} | dict.fromkeys(adapt.made, "adapted to 8 images of each shift, prior 64")
    assert (protocol.mean, protocol.std) == (images.mean, images.std)
    assert "num_ops=2" in protocol.views["strong"]
    assert set(protocol.versions) == {"renorm", "torch", "python", "device"}
    weights = protocol.weights
    classifier.model.get_buffer("bn1.running_mean").add_(1)
    assert evaluate(classifier, images, {"weak": Choice("weak")}, chosen[:1]).protocol.weights != weights


def test_adapting_to_more_images_than_there_are_is_refused(classifier: Classifier, images: Images):
    with pytest.raises(ValueError, match=r"cannot adapt to 49 images under contrast 1, which has 48.*Adapt to fewer"):
        Adapted(classifier, images, BRANCHES, num_images=49)(Shift("contrast", 1))


def test_progress_counts_cells(classifier: Classifier, images: Images):
    told: list[tuple[float, int, str]] = []
    choices = {name: Choice(name) for name in BRANCHES}
    chosen = make_shifts(["contrast:1", "contrast:2"], make_view)
    evaluate(
        classifier, images, choices, chosen, callback=lambda done, total, shift: told.append((done, total, shift.label))
    )
    assert told == [(2, 4, "contrast 1"), (4, 4, "contrast 2")]
