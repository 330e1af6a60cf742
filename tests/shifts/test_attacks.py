"""Attacks as shifts: against the bank evaluated, or another; what they say of themselves; other libraries' attacks."""

import importlib.util
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.attacks import fgsm, pgd
from renorm.data import Images
from renorm.evaluate import Adapted, Choice, Classifier, TrainingImages, choose, evaluate
from renorm.report.grid import family_of
from renorm.seeds import stable_seed
from renorm.shifts import Shift, Threat, make_shifts
from tests.evaluate.conftest import BRANCHES, make_view

CHOICES = {name: Choice(name) for name in BRANCHES}
EPS = "16/255"


def attacked(name: str, **threat: Any) -> Shift:
    (shift,) = make_shifts([name], make_view, seed=3, threat=Threat(**{"eps": EPS, **threat}))
    return shift


def hits(model: nn.Module, classifier: Classifier, x: Tensor, images: Images) -> Tensor:
    with torch.no_grad():
        return model.eval()(classifier.normalize(x)).argmax(1) == images.labels


def test_each_bank_is_attacked_itself(classifier: Classifier, images: Images):
    results = evaluate(classifier, images, CHOICES, [attacked("pgd:3"), attacked("fgsm")])
    x, seeds = images.batch(range(48))[0] / 255, [stable_seed(3, "attack", i) for i in range(48)]
    for name in BRANCHES:
        plain = renorm.fold(classifier.model, name).eval()
        options: dict[str, Any] = {"eps": 16 / 255, "normalize": classifier.normalize}
        found = pgd(plain, x, images.labels, steps=3, random=seeds, **options)
        assert torch.equal(results.hits[name, "pgd:3", 0], hits(plain, classifier, found, images))
        found = fgsm(plain, x, images.labels, **options)
        assert torch.equal(results.hits[name, "fgsm", 0], hits(plain, classifier, found, images))
    row = results.rows[0]
    assert row.low is not None
    assert row.high is not None
    assert row.low <= row.value <= row.high
    assert (row.shift, row.severity, row.count) == ("pgd:3", 0, 48)


def test_another_bank_is_attacked_where_one_is_named(classifier: Classifier, images: Images):
    clean = choose(classifier, ["clean@strong"], BRANCHES, TrainingImages(images))["clean@strong"]
    for bank, through in (("strong", Choice("strong")), ("clean@strong", clean)):
        results = evaluate(classifier, images, CHOICES, [attacked("fgsm", bank=bank, through=through)])
        x = images.batch(range(48))[0] / 255
        with through.used(classifier.model):
            found = fgsm(classifier.model, x, images.labels, eps=16 / 255, normalize=classifier.normalize)
        expected = hits(renorm.fold(classifier.model, "weak"), classifier, found, images)
        assert torch.equal(results.hits["weak", "fgsm", 0], expected)
        assert results.protocol.attacks == {"fgsm": f"linf 16/255, against {bank}"}


def test_a_bank_in_place_of_a_branch_is_attacked_itself(classifier: Classifier, images: Images):
    made = choose(classifier, ["clean@weak"], BRANCHES, TrainingImages(images))
    before = {name: tensor.clone() for name, tensor in classifier.model.state_dict().items()}
    results = evaluate(classifier, images, made, [attacked("fgsm")])
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier.model.state_dict().items())
    x = images.batch(range(48))[0] / 255
    renorm.install_(classifier.model, made["clean@weak"].bank, branch="weak")  # pyright: ignore[reportArgumentType]
    plain = renorm.fold(classifier.model, "weak").eval()
    found = fgsm(plain, x, images.labels, eps=16 / 255, normalize=classifier.normalize)
    assert torch.equal(results.hits["clean@weak", "fgsm", 0], hits(plain, classifier, found, images))


def test_a_bank_is_adapted_to_attacks_on_its_branch(classifier: Classifier, images: Images):
    shift = attacked("fgsm")
    banks = Adapted(classifier, images, BRANCHES, num_images=32, prior=64)(shift)
    indices = torch.randperm(48, generator=torch.Generator().manual_seed(3))[:32]
    pixels, labels = images.batch(indices)
    found = fgsm(classifier.model, pixels / 255, labels, eps=16 / 255, branch="strong", normalize=classifier.normalize)
    renorm.adapt_(classifier.model, classifier.normalize(found), prior=64, branch="strong")
    expected, bank = renorm.Bank.of(classifier.model, branch="strong"), banks["adapted@strong"].bank
    assert bank is not None
    assert_close(bank.sites["bn1"].mean, expected.sites["bn1"].mean)


def test_what_attacks_say_of_themselves():
    def said(name: str, **threat: Any) -> str:
        (shift,) = make_shifts([name], make_view, threat=Threat(**threat))
        assert shift.adversary is not None
        return shift.adversary.description

    assert said("pgd:20") == "linf 8/255, step 2/255, 20 steps, random start, against the bank evaluated"
    assert said("pgd", random_start=False, step="1/255").startswith("linf 8/255, step 1/255, 20 steps, started at")
    assert said("fgsm", ball="l2") == "l2 0.5, against the bank evaluated"
    assert [attacked(name).label for name in ("pgd", "pgd:7", "fgsm")] == ["pgd:20", "pgd:7", "fgsm"]
    assert family_of("pgd:20") == family_of("fgsm") == "attacks"


@pytest.mark.parametrize("name", ["pgd:0", "pgd:x", "fgsm:3", "torchattacks", "autoattack:x"])
def test_attacks_that_do_not_exist(name: str):
    with pytest.raises(ValueError, match=rf"unknown attack '{name}': one of fgsm, pgd:STEPS.*is needed. Try pgd:20"):
        make_shifts([name], make_view)


def test_numbers_and_calls_that_cannot_be(images: Images):
    with pytest.raises(ValueError, match=r"eps 'x/255' is no number: .*a fraction. Try 8/255"):
        attacked("pgd", eps="x/255")
    with pytest.raises(ValueError, match=r"eps=-1.0 was given"):
        attacked("pgd", eps="-1")
    with pytest.raises(TypeError, match=r"the shift pgd:20 was called with images alone: .*needs a model and labels"):
        attacked("pgd")(images.batch(range(2))[0], torch.arange(2))
    with pytest.raises(ValueError, match=r"unknown shift 'pgdd'.*Did you mean pgd"):
        make_shifts(["pgdd"], make_view)


class FakeAutoAttack:
    """Has the interface of the authors' class, and does the fast gradient method."""

    settings: dict[str, Any]

    def __init__(self, model: nn.Module, **settings: Any) -> None:
        self.model, FakeAutoAttack.settings = model, settings
        model.train()
        model.zero_grad()

    def run_standard_evaluation(self, x: Tensor, y: Tensor, bs: int) -> Tensor:
        assert bs == len(x)
        return fgsm(self.model, x, y, eps=self.settings["eps"])


def test_autoattack_through_a_chosen_bank(classifier: Classifier, images: Images, monkeypatch: pytest.MonkeyPatch):
    library: Any = ModuleType("autoattack")
    library.AutoAttack, library.__version__ = FakeAutoAttack, "0.1"
    monkeypatch.setitem(sys.modules, "autoattack", library)
    classifier.model.train()
    parameter = next(classifier.model.parameters())
    parameter.grad = torch.ones_like(parameter)
    found = evaluate(classifier, images, CHOICES, [attacked("autoattack")])
    assert classifier.model.training
    assert bool((parameter.grad == 1).all())
    expected = evaluate(classifier, images, CHOICES, [attacked("fgsm")])
    assert torch.equal(found.hits["strong", "autoattack", 0], expected.hits["strong", "fgsm", 0])
    assert FakeAutoAttack.settings["norm"] == "Linf"
    assert FakeAutoAttack.settings["version"] == "standard"
    assert found.protocol.attacks == {"autoattack": "linf 16/255, autoattack 0.1, against the bank evaluated"}
    monkeypatch.setattr(FakeAutoAttack, "run_standard_evaluation", lambda self, x, y, bs: x + 0.1)
    with pytest.raises(ValueError, match=r"moved an image by 0.1 in linf: at most eps 0.06275 is needed"):
        evaluate(classifier, images, CHOICES, [attacked("autoattack")])


class PGD:
    def __init__(self, model: nn.Module, eps: float = 0.1, steps: int = 10) -> None:
        self.model, self.eps, self.steps = model, eps, steps

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        return pgd(self.model, x, y, eps=self.eps, steps=self.steps)


class CW:
    def __init__(self, model: nn.Module, c: float = 1) -> None: ...


def test_torchattacks_by_name(classifier: Classifier, images: Images, monkeypatch: pytest.MonkeyPatch):
    library: Any = ModuleType("torchattacks")
    library.PGD, library.CW, library.PGDL2 = PGD, CW, PGD
    monkeypatch.setitem(sys.modules, "torchattacks", library)
    found = evaluate(classifier, images, CHOICES, [attacked("torchattacks:PGD")])
    expected = evaluate(classifier, images, CHOICES, [attacked("pgd:10", random_start=False)])
    assert torch.equal(found.hits["weak", "torchattacks:PGD", 0], expected.hits["weak", "pgd:10", 0])
    for name in ("CW", "PDG"):
        with pytest.raises(
            ValueError, match=rf"torchattacks:{name} was given. .*takes a radius eps is needed.*Try .*PGD"
        ):
            attacked(f"torchattacks:{name}")
    with pytest.raises(ValueError, match=r"torchattacks:PGD was given for the ball l2: it is bounded in linf only"):
        attacked("torchattacks:PGD", ball="l2")
    with pytest.raises(ValueError, match=r"torchattacks:PGDL2 was given for the ball linf.*--attack-ball l2"):
        attacked("torchattacks:PGDL2")


def test_libraries_that_are_missing(monkeypatch: pytest.MonkeyPatch):
    for name in ("autoattack", "torchattacks"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"torchattacks is .*Install it with: pip install '\.\[attacks\]'"):
        attacked("torchattacks:PGD")
    with pytest.raises(ImportError, match=r"no registry has. Install it with: pip install git.*or use torchattacks:"):
        attacked("autoattack")


@pytest.mark.skipif(importlib.util.find_spec("torchattacks") is None, reason="needs torchattacks")
@pytest.mark.parametrize(("name", "ball"), [("PGD", "linf"), ("APGD", "linf"), ("PGDL2", "l2"), ("Square", "l2")])
def test_the_real_torchattacks(classifier: Classifier, images: Images, name: str, ball: Any):
    few, eps = images.subset(range(6)), EPS if ball == "linf" else "1"
    before = {key: tensor.clone() for key, tensor in classifier.model.state_dict().items()}
    found = [
        evaluate(classifier, few, CHOICES, [attacked(f"torchattacks:{name}", ball=ball, eps=eps)]) for _ in range(2)
    ]
    assert found[0].rows == found[1].rows
    assert all(torch.equal(tensor, before[key]) for key, tensor in classifier.model.state_dict().items())
