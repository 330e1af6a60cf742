"""A run that was stopped goes on to the same bits."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from renorm.train import Event, Run, checkpoint
from tests.conftest import ROOT
from tests.recipes.classify import small


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return small.start(tmp_path_factory.mktemp("whole") / "run")


OPTIONS: dict[str, dict[str, Any]] = {
    "averaged": {"ema": 0.9, "ema_images": 32},
    "divided": {"accumulate": 3, "keep_last": True, "batch": 36, "label_smoothing": 0.1, "decay_norms": False},
    "shared, averaged, bf16": {"norm": "shared", "ema": 0.8, "ema_images": 32, "precision": "bf16"},
    "fp16": {"precision": "fp16"},
    "channels_last": {"memory_format": "channels_last", "share": ("affine",)},
    "dropout": {"model": "torchvision:mnasnet0_5"},
    "mixed": {"mix": "exchange+cutmix", "exchange_probability": 0.5, "accumulate": 2, "ema": 0.9, "ema_images": 32},
}


def same(run: Run, whole: Run) -> None:
    assert small.numbers(run) == small.numbers(whole)
    weights, expected = run.load().weights["model"], whole.load().weights["model"]
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stop", [1, 3, 5, 7])  # before any checkpoint, within an epoch, after the first, in the last
def test_an_interrupted_run_continues_to_equal_numbers(whole: Run, tmp_path: Path, stop: int):
    def interrupt(event: Event) -> None:
        if event.step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.start(tmp_path / "run", callback=interrupt)
    torch.manual_seed(99)
    same(small.start(tmp_path / "run", resume=True), whole)


SLOW = ("shared, averaged, bf16", "fp16", "dropout")


@pytest.mark.parametrize("options", [pytest.param(o, marks=pytest.mark.slow if o in SLOW else ()) for o in OPTIONS])
def test_it_does_so_with_every_option(tmp_path: Path, options: str):
    def interrupt(event: Event) -> None:
        if event.step == 7:
            raise KeyboardInterrupt

    changes = OPTIONS[options]
    with pytest.raises(KeyboardInterrupt):
        small.start(tmp_path / "run", callback=interrupt, **changes)
    torch.manual_seed(99)
    run = small.start(tmp_path / "run", resume=True, **changes)
    same(run, small.start(tmp_path / "whole", **changes))


def test_metrics_written_after_the_checkpoint_are_cut(whole: Run, tmp_path: Path):
    def interrupt(event: Event) -> None:
        if event.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small.start(tmp_path / "run", callback=interrupt)
    run = Run(tmp_path / "run")
    with run.metrics.open("a") as file:
        file.write('{"epoch": 2, "loss": 12')  # a torn line
    same(small.start(tmp_path / "run", resume=True), whole)


CHILD = """
import sys, time
from pathlib import Path
import torch
from tests.recipes.classify import small
torch.set_num_threads(int(sys.argv[2]))
small.start(Path(sys.argv[1]), callback=lambda event: time.sleep(0.3 if event.step > 6 else 0))
"""


def test_a_run_killed_by_the_system_continues_to_equal_numbers(whole: Run, tmp_path: Path):
    folder = tmp_path / "run"
    environment = os.environ | {
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, "-c", CHILD, str(folder), str(torch.get_num_threads())]
    child = subprocess.Popen(command, env=environment, cwd=ROOT)
    try:
        until = time.monotonic() + 60
        while not any(folder.glob("checkpoint/step-0000000[6-9]")) and time.monotonic() < until:
            assert child.poll() is None
            time.sleep(0.02)
        time.sleep(0.1)
        child.send_signal(signal.SIGKILL)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    assert checkpoint.versions(folder / "checkpoint")
    same(small.start(folder, resume=True), whole)
