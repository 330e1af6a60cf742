"""Pictures by every kind of statistics: what they are made with is what they say, and the run is as it was afterwards."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.banks import Bank, using
from renorm.evaluate import fingerprint
from renorm.export import write
from renorm.metrics import frechet, kid
from renorm.models import Classifier, create
from renorm.recipes.generate import GeneratorRun, in_turn, open_run, sampled, space_of, way_of
from renorm.recipes.generate.exported import folded
from renorm.recipes.generate.features import Space
from renorm.recipes.generate.network import made_by
from renorm.recipes.generate.sample import noise, pixels
from renorm.recipes.generate.score import kid_values, numbers
from renorm.recipes.generate.sheets import by_class
from renorm.train import Run, train
from tests.recipes.generate.test_recipe import game


def trained(folder: Path, **changes: Any) -> GeneratorRun:
    recipe, run = game(**changes), Run(folder)
    run.start(recipe.describe())
    train(recipe, run)
    return open_run(folder, "cpu")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> GeneratorRun:
    return trained(tmp_path_factory.mktemp("run") / "run")


LABELS = in_turn(range(3), 12)


@pytest.mark.parametrize(("limit", "variance"), [(0.5, 0.080589), (1.0, 0.291125), (2.0, 0.773741)])
def test_truncated_noise_has_the_variance_of_its_distribution(limit: float, variance: float):
    z = noise(20_000, 8, 0, limit)
    assert z.abs().max() <= limit
    assert_close(float(z.var()), variance, rtol=0.02, atol=0)
    clamped = noise(20_000, 8, 0).clamp(-limit, limit)
    with pytest.raises(AssertionError):
        assert_close(float(clamped.var()), variance, rtol=0.02, atol=0)


def test_averaged_weights_have_both_statistics_and_neither_is_the_other(opened: GeneratorRun):
    assert set(opened.banks()) == {"running", "recalibrated"}
    assert max(opened.stored["running"].distance(opened.stored["recalibrated"]).values()) > 0.01
    before = fingerprint(opened.model)
    a, b = (sampled(opened, way_of(name), LABELS) for name in ("running", "recalibrated"))
    assert not torch.equal(a, b)
    assert torch.equal(b, sampled(opened, way_of("recalibrated"), LABELS))
    assert fingerprint(opened.model) == before


def test_weights_without_an_average_are_measured_when_they_are_asked_for(tmp_path: Path):
    run = trained(tmp_path / "run", average=0.0)
    assert set(run.banks()) == {"running"}
    assert not torch.equal(sampled(run, way_of("recalibrated"), LABELS), sampled(run, way_of("running"), LABELS))


def test_a_batch_is_normalized_as_in_training(opened: GeneratorRun):
    found = sampled(opened, way_of("batch:12"), LABELS)
    with torch.no_grad():
        expected = pixels(made_by(opened.model.train(), noise(12, 4, 0), LABELS))
    opened.model.eval()
    assert (found.int() - expected.int()).abs().max() <= 1


def test_one_class_by_batch_is_made_among_all_classes(opened: GeneratorRun):
    ones = torch.ones(5, dtype=torch.int64)
    found = sampled(opened, way_of("batch:6"), ones)
    z = noise(5, 4, 0)
    rest = noise(18, 4, 1).split(6)
    rest[0][[1, 4]], rest[1][[1, 4]], rest[2][1] = z[:2], z[2:4], z[4]
    with torch.no_grad(), renorm.route(opened.model, in_turn(range(3), 6)), renorm.prediction_time(opened.model):
        rows = [pixels(opened.model(block))[[1, 4]] for block in rest]
    assert torch.equal(found, torch.cat(rows)[:5])


def test_labels_out_of_range_are_refused(opened: GeneratorRun):
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=r"labels between .* The 3 classes are 0 to 2. Map the labels"):
            sampled(opened, way_of("running"), torch.tensor([0, wrong]))


def test_a_folded_class_is_a_plain_generator_of_it(opened: GeneratorRun, tmp_path: Path):
    plain, z = folded(opened, "c1", way_of("recalibrated")), noise(6, 4, 0)
    assert torch.equal(pixels(plain(z)), sampled(opened, way_of("recalibrated"), torch.ones(6, dtype=torch.int64)))
    assert write(plain, tmp_path / "g.pt2", z).error < 1e-5
    with pytest.raises(ValueError, match=r"no class given: .* of c0, c1, c2. Name it: --branch c0"):
        folded(opened, None, way_of("running"))
    with pytest.raises(ValueError, match=r"--bank batch:4: a plain generator has statistics.* Name another"):
        folded(opened, "c1", way_of("batch:4"))


def test_a_new_class_starts_like_another_and_an_unknown_one_has_the_shared_affine(opened: GeneratorRun):
    model, z = copy.deepcopy(opened.model), noise(4, 4, 0)
    renorm.add_branch_(model, "owl", like="c1")
    with torch.no_grad():
        owls, ones, unknown = (made_by(model, z, torch.full((4,), label)) for label in (3, 1, -1))
        plain = renorm.fold(model, "owl")(z)
    assert_close(owls, ones, rtol=0, atol=0)
    assert_close(plain, owls)
    assert not torch.equal(unknown, ones)


class Shown(torch.nn.Module):
    """A classifier of the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))


def space(agrees: bool = True) -> Space:
    torch.manual_seed(0)
    return Space("shown 0", Classifier(Shown(), (0.5,) * 3, (0.5,) * 3, size=8), agrees)


def test_numbers_are_named_by_features_and_count_and_have_intervals():
    drawn = torch.Generator().manual_seed(0)
    a, b = (torch.randint(0, 256, (40, 3, 16, 16), generator=drawn).to(torch.uint8) for _ in range(2))
    net = space()
    real, made = net(a), net(b)
    found = numbers(net, real, made, torch.zeros(40, dtype=torch.int64))
    assert list(found)[:3] == ["KID[shown 0, n=40]", "agreement[shown 0, n=40]", "Frechet[shown 0, n=40]"]
    assert all(each.count == 40 for each in found.values())
    first = found["KID[shown 0, n=40]"]
    assert first.low is not None
    assert first.high is not None
    assert_close(first.value, kid(real.features, made.features))
    assert first.low < first.value < first.high
    assert_close(found["Frechet[shown 0, n=40]"].value, frechet(real.features, made.features))
    assert not any(name.startswith("agreement") for name in numbers(space(False), real, made, torch.zeros(40)))


def test_the_interval_of_a_kid_is_as_wide_as_it_varies():
    def drawn(seed: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(100, 3, generator=generator), 0.7 * torch.randn(100, 3, generator=generator) + 1

    many = torch.tensor([kid(*drawn(seed)) for seed in range(60)])
    halves = torch.tensor([kid_values(*drawn(seed)).std() / 10 for seed in range(60)])
    assert 0.7 < float(halves.mean() / many.std()) < 1.4
    naive = halves / 2  # of what each image adds, without the pairs that it is the other one of
    assert not 0.7 < float(naive.mean() / many.std()) < 1.4


def test_a_network_without_weights_gives_no_features(opened: GeneratorRun):
    with pytest.raises(ValueError, match="no weights for resnet20"):
        space_of(opened, "resnet20")


def test_a_sheet_has_a_row_for_each_class():
    shown = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(12, 3, 16, 16)
    found = by_class(shown, LABELS)
    assert found.shape == (3, 3 * 50 - 2, 4 * 50 - 2)
    assert [int(found[0, 0, 50 * k]) for k in range(4)] == [0, 3, 6, 9]
    assert [int(found[0, 50 * k, 0]) for k in range(3)] == [0, 1, 2]
    assert int(found[0, 0, 49]) == 255


def test_banks_are_files_that_fit(opened: GeneratorRun, tmp_path: Path):
    opened.stored["running"].save(tmp_path / "b.safetensors")
    with using(opened.model, Bank.load(tmp_path / "b.safetensors")), torch.no_grad():
        made = pixels(made_by(opened.model, noise(12, 4, 0), LABELS))
    assert torch.equal(made, sampled(opened, way_of("running"), LABELS))


@pytest.mark.parametrize("changes", [{"precision": "bf16"}, {"memory_format": "channels_last"}])
def test_half_bits_and_another_memory_format_train_to_about_the_same(changes: dict[str, Any]):
    losses = []
    for each in ({}, changes):
        recipe = game(**each)
        losses.append([recipe.step(batch)["loss/discriminator"] for batch in recipe.batches(0, 0)])
        weights: Any = [block.get_submodule("conv1").weight for block in recipe.critic.blocks]
        sigma = [torch.linalg.matrix_norm(weight.detach().flatten(1), 2) for weight in weights]
        assert_close(torch.stack(sigma), torch.ones(len(sigma)), rtol=0.02, atol=0)
    assert_close(losses[1], losses[0], rtol=0.02 if "precision" in changes else 1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # torch looks at that of pictures that are no leaf
def test_compiled_networks_train_to_the_same(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("renorm.recipes.generate.recipe.BACKEND", "aot_eager")
    losses = []
    for compiled in (False, True):
        recipe = game(compile=compiled)
        losses.append([recipe.step(batch)["loss/generator"] for batch in recipe.batches(0, 0)])
    assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)


def test_options_that_several_processes_need(monkeypatch: pytest.MonkeyPatch):
    from renorm.train import Processes

    two = Processes(torch.device("cpu"), 0, 2)
    monkeypatch.setattr("renorm.recipes.generate.recipe.join", lambda device: two)
    with pytest.raises(ValueError, match=r"2 processes were started: .* Add --sync-bn"):
        game(batch=4, generated=4)
    with pytest.raises(ValueError, match=r"--batch 3 and --generated 4 with 2 processes.* multiples of 2"):
        game(sync_bn=True, generated=4)


def test_features_are_what_the_last_layer_is_given(opened: GeneratorRun):
    classifier = create("resnet8", num_classes=3)
    looked = Space("resnet8 x", Classifier(classifier.eval(), (0.5,) * 3, (0.5,) * 3, classes=opened.classes), True)(
        sampled(opened, way_of("running"), LABELS)
    )
    assert looked.features.shape == (12, 64)
    assert looked.logits.shape == (12, 3)


def test_a_generator_without_classes_is_sampled_all_the_same(tmp_path: Path):
    run = trained(tmp_path / "run", norm="shared", width=4)
    assert not run.known
    assert sampled(run, way_of("running"), LABELS).shape == (12, 3, 16, 16)
