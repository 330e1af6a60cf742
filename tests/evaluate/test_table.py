from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm import metrics
from renorm.augment import View, view
from renorm.data import Images, load
from renorm.evaluate import (
    Adapted,
    Choice,
    Shift,
    Subject,
    TrainingImages,
    choose,
    evaluate,
    logits,
    shifts,
    usual,
)
from renorm.models import create

BRANCHES = ["weak", "strong"]


def make_view(name: str) -> View:
    return view(name, 16, digits=True)


@pytest.fixture
def images() -> Images:
    return load("digits", split="test").subset(range(48))


@pytest.fixture
def subject(images: Images) -> Subject:
    model = create("resnet8")
    renorm.split_(model, BRANCHES)
    for tensor in [*model.buffers(), *model.parameters()]:
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.data += torch.rand_like(tensor)
    return Subject(model, images.mean, images.std)


def outputs(subject: Subject, images: Images, choice: Choice) -> Tensor:
    return logits(subject, images, {"it": choice})["it"]


def test_a_cell_is_what_a_plain_loop_gives(subject: Subject, images: Images):
    (shift,) = shifts(["contrast:4"], make_view, seed=3)
    results = evaluate(subject, images, {"strong": Choice("strong")}, [shift])
    x = subject.normalize(renorm.corruptions.corrupt(images.batch(range(48))[0], "contrast", 4, range(48)))
    with torch.no_grad():
        expected = renorm.fold(subject.model, "strong").eval()(x)
    (row,) = results.rows
    assert torch.equal(results.hits[row.cell], metrics.correct(expected, images.labels))
    near = (expected.argsort(1, descending=True)[:, :5] == images.labels[:, None]).any(1)
    assert row.top5 == near.double().mean().item()
    assert_close(row.ece, metrics.ece(expected, images.labels), rtol=1e-5, atol=1e-7)
    assert (row.bank, row.shift, row.severity, row.images, row.seed) == ("strong", "contrast", 4, 48, 3)
    assert_close(row.accuracy, metrics.accuracy(expected, images.labels))
    assert_close(row.nll, metrics.nll(expected, images.labels), rtol=1e-5, atol=0)
    assert row.low <= row.accuracy <= row.high


@pytest.mark.parametrize("name", ["clean", "weak", "strong", "gaussian_noise:2", "jpeg_compression:5"])
def test_a_shift_depends_on_the_index_and_the_seed_only(images: Images, name: str):
    (shift,) = shifts([name], make_view)
    pixels, order = images.batch(range(9))[0], torch.randperm(9)
    together = shift(pixels, torch.arange(9))
    assert together.dtype == torch.uint8
    assert torch.equal(shift(pixels[order], order), together[order])
    if name not in ("clean", "jpeg_compression:5"):
        assert not torch.equal(replace(shift, seed=1)(pixels, torch.arange(9)), together)


def test_a_corruption_without_severity_is_all_five():
    assert [shift.label for shift in shifts(["clean", "contrast"], make_view)] == [
        "clean",
        *(f"contrast {severity}" for severity in range(1, 6)),
    ]


def test_branches_clean_banks_and_mixtures(subject: Subject, images: Images):
    train = load("digits").subset(range(100))
    made = choose(subject, usual(BRANCHES), BRANCHES, TrainingImages(train, num_images=64))
    assert list(made) == ["weak", "strong", "clean@weak", "clean@strong", "weak:0.5+strong:0.5"]
    clean = made["clean@strong"]
    assert clean.branch == "strong"
    assert clean.bank is not None
    assert clean.bank.samples == 64
    weak, strong = (renorm.Bank.of(subject.model, branch=name) for name in BRANCHES)
    mixed = made["weak:0.5+strong:0.5"].bank
    assert mixed is not None
    assert_close(mixed.sites["bn1"].mean, (weak.sites["bn1"].mean + strong.sites["bn1"].mean) / 2)


def test_a_bank_is_measured_under_any_view(subject: Subject, images: Images):
    training = TrainingImages(images, num_images=32, seed=3, make_view=make_view)
    made = choose(subject, ["clean@strong", "strong@strong", "strong@weak"], BRANCHES, training)
    under_strong = renorm.measure(subject.model, training.batches(subject, "strong"), branch="weak")
    assert made["strong@weak"].branch == "weak"
    bank, clean = made["strong@weak"].bank, made["clean@strong"].bank
    assert bank is not None
    assert clean is not None
    assert_close(bank.sites["bn1"].mean, under_strong.sites["bn1"].mean, rtol=0, atol=0)
    assert bank.distance(clean)["bn1"] > 0.01


def test_a_mixture_with_all_weight_on_one_branch_is_that_branch(subject: Subject, images: Images):
    made = choose(subject, ["strong", "weak:0+strong:1"], BRANCHES, TrainingImages(None))
    found = logits(subject, images, made)
    assert_close(found["weak:0+strong:1"], found["strong"], rtol=1e-5, atol=1e-5)
    assert not torch.allclose(found["strong"], outputs(subject, images, Choice("weak")))


def test_a_bank_file_is_used_and_another_models_is_refused(subject: Subject, images: Images, tmp_path: Path):
    bank = choose(subject, ["clean@weak"], BRANCHES, TrainingImages(images))["clean@weak"]
    assert bank.bank is not None
    path = str(bank.bank.save(tmp_path / "some.safetensors"))
    (choice,) = choose(subject, [path], BRANCHES, TrainingImages(None)).values()
    assert_close(outputs(subject, images, choice), outputs(subject, images, bank))
    subject.model.get_parameter("conv1.weight").data += 1
    with pytest.raises(ValueError, match="other weights"):
        choose(subject, [path], BRANCHES, TrainingImages(None))


def test_adapted_banks_are_those_of_adapt_(subject: Subject, images: Images):
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    (shift,) = shifts(["gaussian_noise:5"], make_view)
    made = Adapted(subject, images, BRANCHES, num_images=32)(shift)
    assert list(made) == ["adapted@weak", "adapted@strong"]
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
    indices = torch.randperm(48, generator=torch.Generator().manual_seed(0))[:32]
    x = subject.normalize(shift(images.batch(indices)[0], indices))
    adaptation = renorm.adapt_(subject.model, x, branch="strong")
    expected = outputs(subject, images, Choice("strong"))
    adaptation.undo()
    assert_close(outputs(subject, images, made["adapted@strong"]), expected)


def test_a_plain_model_has_one_bank(images: Images):
    subject = Subject(create("resnet8"), images.mean, images.std)
    assert usual([]) == ["source"]
    made = choose(subject, ["source", "clean@source"], [], TrainingImages(images))
    adapt = Adapted(subject, images, [], num_images=16)
    rows = evaluate(subject, images, made, shifts(["clean"], make_view), adapt=adapt).rows
    assert [row.bank for row in rows] == ["source", "clean@source", "adapted"]


def test_modes_are_given_back_after_an_error(images: Images):
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4).eval())
    with pytest.raises(RuntimeError):
        logits(Subject(model.append(nn.Linear(3, 2)), images.mean, images.std), images, {"source": Choice()})
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
def test_unknown_banks_say_what_there_is(subject: Subject, name: str, message: str):
    with pytest.raises(ValueError, match=message):
        choose(subject, [name], BRANCHES, TrainingImages(None))


@pytest.mark.parametrize("name", ["contrst", "contrast:6", "clean:1"])
def test_unknown_shifts_say_what_there_is(name: str):
    with pytest.raises(ValueError, match=rf"unknown shift '{name}': one of clean, weak, .* is needed.*Did you mean c"):
        shifts([name], make_view)


def test_evaluating_nothing_is_an_error(subject: Subject, images: Images):
    with pytest.raises(ValueError, match=r"0 banks, 1 shifts and 48 images"):
        evaluate(subject, images, {}, [Shift("contrast", 1)])
    unlabelled = replace(images, labels=torch.full((48,), -1))
    with pytest.raises(ValueError, match=r"digits has images without a label"):
        evaluate(subject, unlabelled, {"weak": Choice("weak")}, [Shift("contrast", 1)])
