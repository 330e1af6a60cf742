import copy

import pytest
import torch
from torch.testing import assert_close

import renorm
from renorm.data import Images
from renorm.evaluate import Classifier, Method

NAMES = {
    "source": ("source", "of the model"),
    "auto": ("auto", "adapted to images of the shift, prior auto"),
    "16": ("prior 16", "adapted to images of the shift, prior 16"),
    "0.5": ("prior 0.5", "adapted to images of the shift, prior 0.5"),
    "replacement": ("full replacement", "adapted to images of the shift, prior 0"),
    "replacement:mean": ("full replacement, mean only", "adapted to images of the shift, prior 0, mean only"),
    "auto:variance": ("auto, variance only", "adapted to images of the shift, prior auto, variance only"),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_say_what_is_done(name: str):
    method = Method.named(name)
    assert (method.label, method.made) == NAMES[name]


@pytest.mark.parametrize("name", ["", "atuo", "-1", "nan", "inf", "16:", "16:median", "source:mean", "16:mean:mean"])
def test_an_unknown_one_is_refused(name: str):
    with pytest.raises(ValueError, match=r"unknown method .*: source, auto, .* is needed. Choose"):
        Method.named(name)


@pytest.mark.parametrize("name", ["auto", "16", "replacement", "16:mean"])
def test_the_bank_is_what_adapting_installs_and_the_model_is_given_back(
    classifier: Classifier, images: Images, name: str
):
    x = classifier.normalize(images.batch(range(16))[0] // 4)
    before = copy.deepcopy(classifier.model.state_dict())
    method = Method.named(name)
    bank, weight = method.bank(classifier, x, "strong")
    assert_close(classifier.model.state_dict(), before, rtol=0, atol=0)
    adaptation = renorm.adapt_(classifier.model, x, method.prior, "strong", only=method.only)
    assert bank is not None
    assert weight == adaptation.source_weight < 1
    assert max(renorm.Bank.of(classifier.model, "strong").distance(bank).values()) == 0
    if name == "16:mean":
        assert_close(bank.sites["bn1"].var, renorm.Bank.of(classifier.model, "strong").sites["bn1"].var, rtol=0, atol=0)


def test_the_source_needs_no_bank(classifier: Classifier):
    assert Method.named("source").bank(classifier, torch.empty(0, 3, 16, 16), "weak") == (None, 1.0)
