"""Domains of the data as branches: who follows which, what is trained on, an unseen domain, and what is refused."""

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

import renorm
from renorm.data import Images
from renorm.evaluate import Adapted, Choice, choose, evaluate, unknown
from renorm.evaluate.banks import TrainingImages
from renorm.recipes.classify import Classification, configured
from renorm.shifts import Shift, domains
from tests.recipes.classify import small

NAMES = ["photo", "art", "sketch"]
DOMAINS: dict[str, Any] = {"branches": ("domains",), "batch": 32, "epochs": 2}


def parted(num_train: int = 96, num_test: int = 30) -> tuple[Images, Images]:
    """The digits in three domains, one of them inverted, of different sizes."""
    both = []
    for images in small.images(num_train, num_test):
        domain = torch.arange(len(images)) % 7 % 3
        assert isinstance(images.pixels, torch.Tensor)
        pixels = torch.where((domain == 1).view(-1, 1, 1, 1), 255 - images.pixels, images.pixels)
        both.append(replace(images, pixels=pixels, domains=NAMES, domain=domain))
    return both[0], both[1]


def recipe(**changes: Any) -> Classification:
    return Classification(configured(**{**small.CONFIG, **DOMAINS, **changes}), *parted())


@pytest.mark.parametrize("norm", ["split", "sandwich", "shared"])
def test_each_image_follows_its_domain(norm: str):
    made, again = recipe(norm=norm, views=("clean",)), recipe(norm=norm, views=("clean",))
    batch = next(iter(made.batches(0, 0)))
    assert batch.views.shape == (32, 1, 3, 16, 16)
    numbers = made.model.train() and made.step(batch)
    domain = again.images.domain
    assert domain is not None
    labels = domain[[index for _, index in batch.keys]]
    x, model = again.classifier.normalize(batch.views[:, 0]), again.model.train()
    if norm == "shared":
        y = model(x)
    else:
        with renorm.route(model, labels):
            y = model(x)
    assert_close(numbers["loss"], F.cross_entropy(y, batch.labels).item(), rtol=1e-5, atol=1e-6)
    assert_close(dict(made.model.named_buffers()), dict(model.named_buffers()))
    assert set(numbers) == {"loss", "loss/domains", "accuracy/domains"}


def test_only_the_domains_named_are_trained_on():
    made = recipe(domains=("sketch", "photo"))
    assert made.config.populations == ("sketch", "photo")
    assert made.images.domain is not None
    assert set(made.images.domain.tolist()) == {0, 2}
    assert made.domain is not None
    assert torch.equal(made.domain, (made.images.domain == 0).long())
    assert len(made.test) == 30
    numbers = made.validate()
    assert set(numbers) == {"test/sketch", "test/photo"}
    members = (made.test.domain == 0).nonzero()[:, 0]  # pyright: ignore[reportOptionalMemberAccess]
    photos, model = made.test.subset(members), made.model.eval()
    with renorm.route(model, "photo"), torch.no_grad():
        y = model(made.classifier.normalize(photos.batch(range(len(photos)))[0]))
    assert_close(numbers["test/photo"], (y.argmax(1) == photos.labels).double().mean().item())


def test_the_shared_affine_of_a_sandwich_meets_an_unseen_domain():
    made = recipe(norm="sandwich", share=("statistics",), domains=("photo", "art"))
    made.model.train()
    for batch in made.batches(0, 0):
        made.step(batch)
    made.model.eval()
    assert unknown(made.model) == ("unknown",)
    assert unknown(recipe(norm="split").model) == unknown(recipe(norm="sandwich").model) == ()
    choices = choose(made.classifier, ["photo", "unknown"], ["photo", "art"], TrainingImages(None))
    (sketch,) = domains(made.test, ["sketch"])
    results = evaluate(made.classifier, None, choices, [sketch])
    assert sketch.images is not None
    x = made.classifier.normalize(sketch.images.batch(range(len(sketch.images)))[0])
    with renorm.route(made.model, torch.full((len(x),), -1)), torch.no_grad():
        expected = made.model(x).argmax(1) == sketch.images.labels
    assert torch.equal(results.hits["unknown", "sketch", 0], expected)
    adapt = Adapted(made.classifier, None, ["unknown"], num_images=4)
    results = evaluate(made.classifier, None, choices, [sketch], adapt=adapt)
    adaptation = renorm.adapt_(made.model, x[adapted_rows(sketch, 4)], prior=64, branch="unknown")
    with renorm.route(made.model, "unknown"), torch.no_grad():
        expected = made.model(x).argmax(1) == sketch.images.labels
    adaptation.undo()
    assert torch.equal(results.hits["adapted@unknown", "sketch", 0], expected)


def adapted_rows(shift: Shift, count: int) -> torch.Tensor:
    """Which images a bank is adapted to."""
    assert shift.images is not None
    generator = torch.Generator().manual_seed(shift.seed)
    return torch.randperm(len(shift.images), generator=generator)[:count]


def test_adaptation_meets_an_unseen_domain():
    made = recipe(domains=("photo", "art"))
    (sketch,) = domains(made.test, ["sketch"])
    adapt = Adapted(made.classifier, None, made.config.populations, num_images=4)
    results = evaluate(made.classifier, None, {"photo": Choice("photo")}, [sketch], adapt=adapt)
    assert results.banks == ["photo", "adapted@photo", "adapted@art"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"domains": ("photo", "clip")},
            r"the domains photo, clip of digits: two or more of photo, art, sketch are needed",
        ),
        ({"domains": ("photo",)}, r"the domains photo of digits: two or more of .*--branches weak --norm shared"),
        (
            {"branches": ("weak", "clean"), "domains": ("art", "photo")},
            r"--domains art photo with the branches weak, clean",
        ),
        ({"views": ("weak", "strong")}, r"2 views \(weak, strong\) for the 1 branches domains"),
        ({"views": ("adv",)}, r"--views adv with --branches domains: attacks have a branch of their own. Leave it out"),
        ({"ema": 0.9}, r"--ema with --branches domains: averaged weights are measured on views that every image has"),
        ({"mix": "mixup"}, r"--mix mixup with --branches domains: partners are drawn within a branch"),
    ],
)
def test_what_cannot_be_trained(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        recipe(**changes)


def test_data_without_domains():
    with pytest.raises(ValueError, match=r"--branches domains with digits, which has no domains: .*column 'domain'"):
        small.recipe(**DOMAINS)
