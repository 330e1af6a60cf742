"""The classification recipe on two processes is the recipe on one, where norms are told to use all statistics together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

import renorm
from renorm.recipes import open_run
from renorm.recipes.classify import Classification, configured
from renorm.recipes.classify import recipe as classification
from renorm.train import Event, Run, train
from renorm.train.shards import whole
from tests.distributed.ranks import on_ranks
from tests.recipes.classify import small

SMALL = {"batch": 14, "keep_last": True, "epochs": 1, "save_every": 0}  # 40 images: five steps of 7 and one of 5, 3 + 2
CASES: dict[str, dict[str, Any]] = {
    "split": {},
    "shared": {"norm": "shared"},
    "shared statistics": {"share": ("statistics",)},
    "two forwards": {"accumulate": 2},
    "attacked": {"branches": ("weak", "adv"), "norm": "sandwich", "attack_steps": 2, "ema": 0.9, "ema_images": 21},
    "averaged": {"ema": 0.9, "ema_images": 21, "decay_norms": False},
    "shared, averaged": {"norm": "shared", "ema": 0.9, "ema_images": 21},
}


def recipe(**changes: Any) -> Classification:
    """A recipe in float64: in float32 the order of a sum moves a loss by 1e-4 within these steps."""
    torch.set_default_dtype(torch.float64)
    classification.BACKEND = "aot_eager"  # the same graphs without a C++ compiler
    try:
        made = Classification(configured(**{**small.CONFIG, **SMALL, **changes}), *small.images(40, 13))
    finally:
        torch.set_default_dtype(torch.float32)
    for model in {made.model, made.evaluated}:
        model.register_forward_pre_hook(lambda model, inputs: (inputs[0].double(),))
    return made


def trained(**changes: Any) -> dict[str, Any]:
    """Losses of one epoch, numbers and weights after it."""
    made = recipe(**changes)
    losses = [made.step(batch)["loss"] for batch in made.batches(0, 0)]
    made.finish()
    return {"losses": losses, "numbers": made.validate(), "weights": whole(dict(made.weights()["model"]))}


def local() -> dict[str, Any]:
    """Running statistics of one rank before and after pooling, and how many images it has seen."""
    made = recipe()
    for batch in made.batches(0, 0):
        made.step(batch)
    before = statistics(made)
    seen = made._seen
    made.finish()
    return {"seen": seen, "before": before, "after": statistics(made), "weights": dict(made.model.named_parameters())}


def statistics(made: Classification) -> dict[str, Tensor]:
    return {key: value.clone() for key, value in made.model.named_buffers() if "running" in key}


AVERAGED: dict[str, Any] = {"ema": 0.9, "ema_images": 14, "epochs": 2, "save_every": 4, "accumulate": 2}


def stopped(folder: Path, stop: int, changes: dict[str, Any] = AVERAGED) -> None:
    """A run that is interrupted after a step and goes on in a new recipe; a stop of 0 is a whole run."""

    def interrupt(event: Event) -> None:
        if event.step == stop:
            raise KeyboardInterrupt

    made, run = recipe(**changes), Run(folder)
    if made.processes.main:
        run.start(made.describe())
    try:
        train(made, run, callback=interrupt)
    except KeyboardInterrupt:
        torch.manual_seed(99)
        made = recipe(**changes)
        train(made, run, resume=True)


def work(rank: int, folder: str) -> dict[str, Any]:
    """Everything that needs several processes, in one start of them."""
    found: dict[str, Any] = {name: trained(sync_bn=True, **changes) for name, changes in CASES.items()}
    found["local"] = local()
    for stop in (0, 6):  # none, and two steps after a checkpoint
        stopped(Path(folder) / f"stopped-{stop}", stop)
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def ranks(folder: Path) -> list[Any]:
    return on_ranks(2, work, str(folder))


@pytest.mark.parametrize("case", CASES)
def test_two_processes_are_one(ranks: list[Any], case: str):
    expected = trained(**CASES[case])
    assert len(expected["losses"]) == 6
    for each in ranks:
        assert_close(each[case], expected, rtol=1e-5, atol=1e-5)


def test_without_synchronization_they_are_not(ranks: list[Any]):
    whole = trained()["weights"]
    for each in ranks:
        assert_close(each["local"]["weights"], ranks[0]["local"]["weights"], rtol=0, atol=0)  # yet they stay together
        with pytest.raises(AssertionError):  # so the law above can fail
            assert_close(
                each["local"]["weights"], {key: whole[key] for key in each["local"]["weights"]}, rtol=1e-3, atol=1e-3
            )


def test_local_statistics_are_pooled_with_the_spread_of_their_means(ranks: list[Any]):
    first, second = (each["local"] for each in ranks)
    assert (first["seen"], second["seen"]) == (23, 17)
    w, v = 23 / 40, 17 / 40
    assert any(not torch.equal(first["before"][key], second["before"][key]) for key in first["before"])
    for key in (key for key in first["before"] if key.endswith("mean")):
        a, b = first["before"][key], second["before"][key]
        variances = [each["before"][key.replace("mean", "var")] for each in (first, second)]
        expected = w * variances[0] + v * variances[1] + w * v * (a - b).square()
        for each in (first, second):
            assert_close(each["after"][key], w * a + v * b, rtol=1e-9, atol=1e-9)
            assert_close(each["after"][key.replace("mean", "var")], expected, rtol=1e-9, atol=1e-9)


def test_a_run_that_was_stopped_goes_on_to_equal_numbers(ranks: list[Any], folder: Path):
    whole, other = Run(folder / "stopped-0"), Run(folder / "stopped-6")
    assert small.numbers(other) == small.numbers(whole)
    assert_close(other.load().weights, whole.load().weights, rtol=0, atol=0)
    assert len(whole.history()) == 2  # written by one of them


def test_another_number_of_processes_does_not_go_on(ranks: list[Any], folder: Path):
    made = recipe(ema=0.9, epochs=2)
    with pytest.raises(ValueError, match=r"trained by 2 processes, and 1 would go on: as many are needed .* Start 2"):
        train(made, Run(folder / "stopped-0"), resume=True)


def test_what_one_process_saves_opens_as_the_model_it_is(ranks: list[Any]):
    plain = renorm.models.create("resnet8")
    plain.double().load_state_dict(ranks[0]["shared"]["weights"])
    assert plain.get_buffer("bn1.num_batches_tracked").shape == ()


def compiled(rank: int) -> dict[str, Any]:
    """Training through a compiled model, its statistics pooled within the graph."""
    return trained(sync_bn=True, compile=True)


@pytest.mark.slow
def test_two_processes_that_compile_are_one():
    expected = trained()
    for each in on_ranks(2, compiled):
        assert_close(each, expected, rtol=1e-5, atol=1e-5)


SHARDED: dict[str, Any] = {"epochs": 2, "save_every": 4, "shard": True}


def divided(rank: int, folder: str) -> dict[str, Any]:
    """Epochs of a replicated and of a divided model, and runs of the latter, of which one is stopped."""
    found: dict[str, Any] = {"whole": trained(), "parts": trained(shard=True)}
    made = recipe(**SHARDED)
    made.test = made.test.subset(range(1))  # the other process has none, and must not be waited for
    found["tested alone"] = made.validate()
    for stop in (0, 6):
        stopped(Path(folder) / f"divided-{stop}", stop, SHARDED)
    return found


@pytest.mark.slow
def test_a_divided_model_trains_as_a_whole_one_and_its_checkpoint_is_whole(tmp_path: Path):
    for each in on_ranks(2, divided, str(tmp_path)):
        assert_close(each["parts"], each["whole"], rtol=1e-9, atol=1e-9)
        assert each["tested alone"].keys() == {"test/weak", "test/clean"}
    whole, other = Run(tmp_path / "divided-0"), Run(tmp_path / "divided-6")
    assert small.numbers(other) == small.numbers(whole)
    assert_close(other.load().weights, whole.load().weights, rtol=0, atol=0)
    assert open_run(whole.path).classifier.branches == ("weak", "clean")
