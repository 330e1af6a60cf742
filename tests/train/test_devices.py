"""One process among others, and alone."""

import os

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from renorm.data import load
from renorm.recipes.classify import check, configured
from renorm.train import Processes, join, unsynchronized
from renorm.train.devices import accelerating
from tests.test_imports import loaded_after

CPU = torch.device("cpu")


def test_alone_there_is_nothing_to_share():
    alone, model = Processes(CPU), nn.Linear(2, 2)
    assert alone.main
    assert alone.parallel(model) is model
    assert_close(alone.sum(torch.ones(3)), torch.ones(3))
    assert_close(alone.gather(torch.ones(3)), torch.ones(1, 3))
    with alone.main_first(), unsynchronized(model, last=False):
        model(torch.ones(1, 2)).sum().backward()
    alone.leave()


def test_more_processes_than_devices_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.accelerator.is_available", lambda: True)
    monkeypatch.setattr("torch.accelerator.current_accelerator", lambda: torch.device("cuda"))
    monkeypatch.setattr("torch.accelerator.device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(
        ValueError, match=r"process 3 of this machine has no cuda device .* there are 2, .* Start 2, or hide"
    ):
        join()


def test_a_torch_that_cannot_divide_a_model_on_a_cpu_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(torch.cpu.Stream, "record_event")
    with pytest.raises(RuntimeError, match=r"on a CPU with torch .* needs a GPU\. Upgrade torch, or leave out --shard"):
        Processes(CPU, count=2).shard_(nn.Linear(2, 2))


def test_each_forward_of_each_process_needs_an_image():
    images = load("digits")
    with pytest.raises(
        ValueError, match=r"--accumulate 3 on 5 processes divides the 12 images of a step: .* Use 1 to 2"
    ):
        check(configured(batch=24, accumulate=3), images, processes=5)
    check(configured(batch=24, accumulate=2), images, processes=5)


def test_a_short_last_step_needs_an_image_for_every_process():
    config = configured(batch=20, keep_last=True, accumulate=2)
    assert [config.plan(24, processes).steps for processes in (1, 2, 3)] == [3, 3, 2]


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [
        ("ACCELERATE_MIXED_PRECISION", "bf16", "--precision"),
        ("ACCELERATE_DYNAMO_BACKEND", "INDUCTOR", "--compile"),
        ("ACCELERATE_USE_FSDP", "true", "--shard"),
    ],
)
def test_what_a_launch_asks_for_is_said_by_options(monkeypatch: pytest.MonkeyPatch, name: str, value: str, option: str):
    monkeypatch.setenv(name, value)
    with pytest.raises(
        ValueError, match=rf"accelerate launch set {name} to {value}: it only starts .*; {option} means it"
    ):
        join("cpu")


def test_a_launch_that_asks_for_nothing_starts_processes(monkeypatch: pytest.MonkeyPatch):
    for name, value in (("MIXED_PRECISION", "no"), ("DYNAMO_BACKEND", "NO"), ("GRADIENT_ACCUMULATION_STEPS", "1")):
        monkeypatch.setenv(f"ACCELERATE_{name}", value)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert join() == Processes(CPU)


def test_the_state_of_accelerate_and_the_environment_are_given_back(monkeypatch: pytest.MonkeyPatch):
    import accelerate
    from accelerate.state import AcceleratorState

    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    AcceleratorState._reset_state(reset_partial_state=True)
    try:
        own, environment = accelerate.Accelerator(mixed_precision="bf16", cpu=True), dict(os.environ)
        with pytest.raises(ValueError, match="already been initialized"):  # so another one is not made beside it
            accelerate.Accelerator(mixed_precision="no")
        with accelerating(Processes(CPU)) as other:
            assert (other.mixed_precision, other.gradient_accumulation_steps) == ("no", 1)
        assert (own.mixed_precision, own.gradient_accumulation_steps) == ("bf16", 4)
        assert dict(os.environ) == environment
    finally:
        AcceleratorState._reset_state(reset_partial_state=True)


def test_accelerate_is_not_imported_to_adapt_evaluate_or_train_alone():
    code = (
        "import torch\n"
        "from renorm.recipes.classify import Classification, configured\n"
        "from renorm.evaluate import logits\n"
        "made = Classification(configured(model='resnet8', batch=8))\n"
        "made.step(next(iter(made.batches(0, 0))))\n"
        "test = made.test.subset(range(4))\n"
        "logits(made.classifier, test, {})\n"
        "renorm.adapt_(made.model, torch.rand(4, 3, 16, 16), branch='weak')\n"
        "from renorm.train import join\n"
        "join('cpu').leave()\n"
    )
    assert loaded_after(f"exec({code!r})", ("accelerate",)) == "[]"
