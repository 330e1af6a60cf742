import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.banks import Choice
from renorm.data import Images, load
from renorm.evaluate import logits
from renorm.layers import SplitBatchNorm
from renorm.recipes.classify import Classification, build, check, configured, read
from renorm.recipes.classify.views import ViewedImages, loader
from renorm.train import Order, set_rates
from tests.conftest import ROOT
from tests.recipes.classify import small

GOLDEN = ROOT / "tests" / "golden" / "classify.json"


def trace(double: bool = True, **changes: Any) -> list[float]:
    recipe = small.recipe(**{"batch": 16, **changes})
    if double:  # in float32 another number of threads moves a loss by 3e-3 within ten steps
        recipe.model.double().register_forward_pre_hook(lambda model, inputs: (inputs[0].double(),))
    losses = []
    for step in range(10):
        set_rates(recipe, step)
        batch = next(iter(recipe.batches(*divmod(step, recipe.plan.steps))))
        losses.append(recipe.step(batch)["loss"])
    return losses


@pytest.mark.parametrize("norm", ["split", "shared"])
def test_the_first_ten_losses_are_the_golden_ones(norm: str):
    golden = json.loads(GOLDEN.read_text())[norm]
    assert_close(torch.tensor(trace(norm=norm)), torch.tensor(golden), rtol=1e-4, atol=0)


def named(images: Images, classes: list[str]) -> Images:
    """The same images, their classes in another order of names."""
    number = torch.tensor([classes.index(name) for name in CLASSES])
    return replace(images, labels=number[images.labels], classes=classes)


CLASSES = [chr(ord("a") + i) for i in range(10)]


def test_classes_of_other_images_are_matched_by_name():
    images, test = (replace(each, classes=CLASSES) for each in small.images())
    recipe = Classification(configured(**small.CONFIG), images, named(test, CLASSES[::-1]))
    assert recipe.test.classes == CLASSES
    assert torch.equal(recipe.test.labels, test.labels)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda test: replace(test, classes=["x", *CLASSES[1:]]), r"1 \(x\) are none of the model's 10"),
        (
            lambda test: replace(test, labels=test.labels.clamp(max=4), classes=CLASSES[:5]),
            r"5 classes and the model 10 outputs: both must be the same",
        ),
        (
            lambda test: replace(test, labels=-torch.ones_like(test.labels)),
            r"digits has no labels: validation needs .* --test",
        ),
        (
            lambda test: replace(test, pixels=test.pixels[..., :8, :8]),
            r"images of 8 x 8 pixels and digits, which is trained on, of 16 x 16: both must be the same. Add --size 16",
        ),
    ],
)
def test_images_that_cannot_validate_are_refused_before_training(change: Callable[[Images], Images], message: str):
    images, test = (replace(each, classes=CLASSES) for each in small.images())
    with pytest.raises(ValueError, match=message):
        Classification(configured(**small.CONFIG), images, change(test))


def test_another_seed_gives_another_trace():
    golden = json.loads(GOLDEN.read_text())["split"]
    with pytest.raises(AssertionError):
        assert_close(torch.tensor(trace(seed=1)), torch.tensor(golden), rtol=1e-2, atol=0)


def test_split_differs_from_shared_in_nothing_but_the_norm():
    split, shared = small.recipe(norm="split"), small.recipe(norm="shared")
    for one, other in zip(split.batches(1, 2), shared.batches(1, 2), strict=True):
        assert torch.equal(one.views, other.views)
        assert torch.equal(one.labels, other.labels)
    sites = [module for module in split.model.modules() if isinstance(module, SplitBatchNorm)]
    norms = [module for module in shared.model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(sites) == len(norms) == 7
    assert_close(split.model.get_parameter("conv1.weight"), shared.model.get_parameter("conv1.weight"), rtol=0, atol=0)


def test_a_view_may_be_used_twice_and_draws_by_the_name_of_its_branch():
    weak = small.recipe(norm="shared", branches=("weak", "again"), views=("weak", "weak"))
    both = small.recipe(branches=("weak", "strong"))
    x, z = next(iter(weak.batches(0, 0))).views, next(iter(both.batches(0, 0))).views
    assert torch.equal(x[:, 0], z[:, 0])
    assert not torch.equal(x[:, 0], x[:, 1])
    assert weak.step(next(iter(weak.batches(0, 0)))).keys() >= {"accuracy/weak", "accuracy/again"}


def test_a_step_has_256_rows_or_the_nearest_below_that_divides():
    for branches, rows, examples in ((("weak",), 256, 256), (("weak", "strong", "adv"), 255, 85)):
        config = configured(branches=branches)
        assert (config.rows, config.examples) == (rows, examples)


def test_one_branch_is_plain_batch_normalization():
    split = trace(norm="split", branches=("weak",))
    assert_close(split, trace(norm="shared", branches=("weak",)), rtol=1e-5, atol=0)


def test_each_example_is_seen_once_an_epoch_by_every_branch():
    data = small.images()[0]
    order = list(Order(len(data), 32, seed=0, epoch=3))
    seen = Counter(index for share in order for _, index in share.keys)
    assert len(seen) == 160
    assert set(seen.values()) == {1}
    assert order != list(Order(len(data), 32, seed=0, epoch=4))
    assert list(Order(len(data), 32, seed=0, epoch=3, first=2)) == order[2:]


def test_workers_do_not_change_the_batches():
    data = ViewedImages(small.images()[0], configured().views_by_branch(16), seed=0)
    order = Order(len(data), 32, seed=0, epoch=1)
    state = torch.get_rng_state()
    alone = list(loader(data, order))
    assert torch.equal(torch.get_rng_state(), state)
    for one, other in zip(alone, loader(data, order, num_workers=2), strict=True):
        assert one.views.shape == (32, 2, 3, 16, 16)
        assert torch.equal(one.views, other.views)
        assert torch.equal(one.labels, other.labels)


def test_shared_statistics_and_affine_are_as_asked():
    model = build(configured(model="resnet8", share=("affine",)), num_classes=10)
    assert model.get_parameter("bn1.weight").shape == (16,)
    assert model.get_buffer("bn1.running_mean").shape == (32,)


def test_bf16_trains():
    losses = trace(double=False, batch=32, precision="bf16")
    assert sum(losses[-3:]) < sum(losses[:3])


def test_a_source_without_splits_is_divided(tmp_path: Any):
    from PIL import Image

    for name in "ab":
        (tmp_path / name).mkdir()
        for i in range(10):
            Image.new("RGB", (8, 8), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    train, test = read(configured(data=str(tmp_path)))
    assert (len(train), len(test)) == (16, 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"branches": ("weak", "stong")}, r"no view makes the branch 'stong': .* Did you mean 'strong'"),
        ({"branches": ("weak", "weak")}, r"Branches are a list of distinct names .* For example"),
        ({"views": ("weak",)}, r"1 views \(weak\) for the 2 branches weak, clean: each branch needs one. Name as many"),
        ({"views": ("weak", "stong")}, r"no view makes the branch 'stong'"),
        ({"batch": 64, "branches": ("weak", "strong", "adv")}, r"a batch of 64 does not divide among the 3 branches"),
        ({"batch": 65}, r"a batch of 65 does not divide among the 2 branches weak, clean: .* Use --batch 64"),
        ({"batch": 4096}, r"160 training images in digits: one step needs 2048. Lower --batch to 320"),
        ({"model": "resnet21"}, r"a depth of 21 is not 6n \+ 2"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        small.recipe(**changes)


def test_images_without_labels_are_refused():
    data = load("digits").subset(range(64))
    with pytest.raises(ValueError, match=r"digits has no labels: .* one folder per class"):
        check(configured(batch=64), type(data)(data.name, data.pixels, torch.full((64,), -1), []))


def test_logits_that_are_no_numbers_are_wrong_and_training_goes_on():
    """Early in a training of slow statistics evaluation may overflow, and recover; a table refuses such a model."""
    made = small.recipe(branches=("weak",), norm="shared", model="resnet8")
    with torch.no_grad():
        next(made.model.buffers()).fill_(torch.nan)
    assert made.validate() == {"test/source": 0.0}
    with pytest.raises(ValueError, match="gives logits that are no numbers"):
        logits(made.classifier, made.test, {"source": Choice()})
