"""`renorm train` as a user calls it."""

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import renorm
from renorm.cli.train import default_folder
from renorm.cli.training import TOGETHER
from renorm.evaluate import read_results
from renorm.recipes import open_run, unlike
from renorm.recipes.classify import configured
from renorm.train import Run
from tests.cli.conftest import TRAIN, Command, some_classes
from tests.conftest import ROOT
from tests.recipes.classify import small


@pytest.fixture
def imagenet(tmp_path: Path) -> Path:
    """Photographs of many sizes and shapes in class folders."""
    from PIL import Image

    generator = torch.Generator().manual_seed(0)
    for split, number in (("train", 6), ("val", 3)):
        for label in range(2):
            folder = tmp_path / "imagenet" / split / f"class{label}"
            folder.mkdir(parents=True)
            for i in range(number):
                width, height = torch.randint(120, 300, (2,), generator=generator).tolist()
                pixels = torch.randint(256, (height // 8, width // 8, 3), dtype=torch.uint8, generator=generator)
                pixels[..., label] = 255
                Image.fromarray(pixels.numpy()).resize((width, height)).save(folder / f"{i}.jpg")
    return tmp_path / "imagenet"


def test_the_imagenet_recipe_trains_on_a_folder(renorm_command: Command, imagenet: Path, tmp_path: Path):
    data = ["--data", imagenet / "train", "--test", imagenet / "val", "--size", 64]
    options = ["--model", "torchvision:resnet18", "--epochs", 1, "--batch", 8, "--keep-last", "--table-images", 0]
    usual = ["--ema", 0.9, "--ema-images", 8, "--label-smoothing", 0.1, "--no-decay-norms", "--accumulate", 2]
    result = renorm_command("train", *data, *options, *usual, "--out", tmp_path / "run")
    assert result.status == 0, result.err
    named = open_run(tmp_path / "run")
    assert named.classifier.size == 64
    assert [record["step"] for record in Run(tmp_path / "run").history()] == [3]
    evaluated = renorm_command("evaluate", tmp_path / "run", "--shifts", "clean", "weak", "strong")
    assert evaluated.status == 0, evaluated.err
    assert {row.count for row in read_results(tmp_path / "run" / "results.csv").rows} == {6}


def test_epochs_are_tensorboard_events_too(renorm_command: Command, tmp_path: Path):
    options = [*TRAIN, "--tensorboard", "--table-images", 0, "--norm", "shared", "--branches", "weak", "again"]
    result = renorm_command(*options, "--views", "weak", "weak", "--out", tmp_path / "run")
    assert result.status == 0, result.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard")).Reload()
    (record,) = Run(tmp_path / "run").history()
    assert set(events.Tags()["scalars"]) == record.keys() - {"step"}
    (event,) = events.Scalars("test/source")
    assert event.step == record["step"] == 10
    assert event.value == pytest.approx(record["test/source"])


def test_one_process_says_that_it_has_nobody_to_wait_for(renorm_command: Command, tmp_path: Path):
    result = renorm_command(*TRAIN, "--sync-bn", "--table-images", 0, "--out", tmp_path / "run")
    assert result.status == 0, result.err
    assert "--sync-bn has no effect in one process" in result.out


def test_weights_of_another_model_are_refused_before_anything_is_written(
    renorm_command: Command, tmp_path: Path, trained: Path
):
    (file,) = trained.glob("checkpoint/*/model.safetensors")
    result = renorm_command("train", "--model", "resnet14", "--weights", file, "--out", tmp_path / "run")
    assert result.status == 1
    assert "holds the weights of another model" in result.err
    assert not (tmp_path / "run").exists()
    again = renorm_command(*TRAIN, "--weights", file, "--out", tmp_path / "run", "--table-images", 0)
    assert again.status == 0, again.err
    former = json.loads((trained / "metrics.jsonl").read_text())
    assert Run(tmp_path / "run").history()[0]["loss"] < former["loss"]


def test_a_mix_is_told_recorded_and_gone_from_what_is_evaluated(renorm_command: Command, tmp_path: Path):
    mix = ["--mix", "exchange+cutmix", "--exchange-probability", 0.5, "--exchange-over", "in"]
    result = renorm_command(*TRAIN, *mix, "--out", tmp_path / "run", "--table-images", 40)
    assert result.status == 0, result.err
    words = (
        "Mix(CutMix(beta=1.0, probability=0.5), MomentExchange(before='layer1', over='in', weight=0.5, probability=0.5"
    )
    assert f"mixes by {words}" in result.out
    config = Run(tmp_path / "run").config()
    assert config["mix"].startswith(words)
    assert (config["config"]["mix"]["kind"], config["config"]["mix"]["exchange"]["over"]) == ("exchange+cutmix", "in")
    (record,) = Run(tmp_path / "run").history()
    assert 0.5 < record["own_label"] < 1
    named = open_run(tmp_path / "run")
    assert named.about["mix"] == config["mix"]
    with pytest.raises(ValueError, match="has no exchange"):
        renorm.MomentExchange.of(named.classifier.model)
    results = read_results(tmp_path / "run" / "results.csv")
    assert {row.bank for row in results.rows} >= {"weak", "strong"}
    words = f"split norms, branches weak strong, 1 epochs, seed 0, mixed by {words}"
    assert results.protocol.training.startswith(words)
    again = renorm_command(*TRAIN, "--mix", "cutmix", "--resume", "--out", tmp_path / "run")
    assert again.status == 1
    assert "mix 'cutmix' (the run has 'exchange+cutmix')" in again.err


def test_a_run_that_was_mixed_is_evaluated_on_folders_of_some_classes(renorm_command: Command, tmp_path: Path):
    """As ImageNet-A and ImageNet-R are for networks of ImageNet."""
    options = ["--mix", "exchange", "--norm", "shared", "--branches", "weak", "--table-images", 0]
    assert renorm_command(*TRAIN, *options, "--out", tmp_path / "run").status == 0
    folder, out = some_classes(tmp_path / "renditions"), tmp_path / "renditions.csv"
    result = renorm_command("evaluate", tmp_path / "run", "--shifts", folder, "--out", out)
    assert result.status == 0, result.err
    rows = read_results(out).rows
    assert {(row.shift, row.count) for row in rows} == {("renditions", 9)}
    assert "source" in {row.bank for row in rows}
    assert "top5" not in {row.measure for row in rows}  # the outputs of three classes compete


def test_going_on_with_other_options_is_refused_even_where_they_are_the_usual_ones(
    renorm_command: Command, trained: Path
):
    result = renorm_command("train", "--resume", "--out", trained, "--epochs", "30", "--no-compile")
    assert result.status == 1
    assert "epochs 30 (the run has 1)" in result.err
    assert "compile" not in result.err


def test_a_recorded_command_can_be_typed_again(renorm_command: Command, tmp_path: Path):
    typed = [*TRAIN, "--table-images", "0", "--out", "a'b c"]
    assert renorm_command(*typed).status == 0
    assert shlex.split(Run(tmp_path / "a'b c").config()["command"]) == ["renorm", *typed]


def test_a_network_without_statistics_trains_as_it_is(
    renorm_command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("renorm.recipes.classify.start.create", lambda name, num_classes: small.Plain(num_classes))
    options = [
        "--norm",
        "shared",
        "--branches",
        "weak",
        "--mix",
        "exchange",
        "--exchange-after",
        "conv",
        "--ema",
        "0.9",
    ]
    result = renorm_command(*TRAIN, *options, "--table-images", 40, "--out", tmp_path / "run")
    assert result.status == 0, result.err
    assert not (tmp_path / "run" / "banks").exists()
    assert {row.bank for row in read_results(tmp_path / "run" / "results.csv").rows} == {"source"}
    adapted = renorm_command("adapt", tmp_path / "run", "--images", "digits")
    assert adapted.status == 1
    assert "has no running statistics; its norms are ['GroupNorm']" in adapted.err


def test_a_run_of_its_own_mix_has_a_folder_of_its_own():
    folders = {str(default_folder(configured(mix=mix))) for mix in (None, "exchange", "cutmix")}
    assert folders == {f"runs/digits-resnet20-split-weak-strong{mix}-0" for mix in ("", "-exchange", "-cutmix")}


ALONE = ("--standalone", "--nproc-per-node", 2)


def launched(folder: Path, *options: object, how: tuple[object, ...] = ALONE) -> subprocess.Popen[str]:
    arguments = [*TRAIN, "--batch", 100, "--out", folder, "--table-images", 0, *options]
    command = ["torch.distributed.run", *how, "-m", "renorm", *arguments]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, command)],
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
@pytest.mark.parametrize(("options", "said"), [((), "each normalizes by its own batch"), (("--sync-bn",), TOGETHER)])
def test_torchrun_trains_one_run_on_two_processes(tmp_path: Path, options: tuple[str, ...], said: str):
    run = launched(tmp_path / "run", "--keep-last", *options)
    out, err = run.communicate(timeout=300)
    assert run.returncode == 0, err
    assert " ".join(out.split()).count(f"2 processes; {said}") == 1
    assert len(Run(tmp_path / "run").history()) == 1
    assert Run(tmp_path / "run").config()["command"].startswith("torchrun --nproc-per-node 2 -m renorm train")
    assert open_run(tmp_path / "run").classifier.branches == ("weak", "strong")


@pytest.mark.slow
def test_two_machines_train_the_run_that_one_does(tmp_path: Path):
    """Two launches that know each other by an address are two machines to them; here both are at home."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = ("--master-addr", "127.0.0.1", "--master-port", free.getsockname()[1])
    launches = [
        launched(tmp_path / "two", how=("--nnodes", 2, "--node-rank", node, "--nproc-per-node", 1, *address))
        for node in (0, 1)
    ]
    for run in launches:
        _, err = run.communicate(timeout=300)
        assert run.returncode == 0, err
    assert (
        Run(tmp_path / "two").config()["command"].startswith("torchrun --nnodes 2 --nproc-per-node 1 -m renorm train")
    )
    one = launched(tmp_path / "one")
    _, err = one.communicate(timeout=300)
    assert one.returncode == 0, err
    assert unlike(tmp_path / "one", tmp_path / "two") == []


@pytest.mark.slow
@pytest.mark.parametrize("end", ["a process dies", "Ctrl-C"])
def test_no_process_waits_for_ever_and_files_are_whole(tmp_path: Path, end: str):
    run, children = launched(tmp_path / "run", "--epochs", 500, "--save-every", 2), []
    try:
        until = time.monotonic() + 200
        while not any((tmp_path / "run").glob("checkpoint/step-*")) and time.monotonic() < until:
            assert run.poll() is None
            time.sleep(0.1)
        children = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
        if end == "Ctrl-C":
            run.send_signal(signal.SIGINT)
        else:
            os.kill(children[-1], signal.SIGKILL)
        run.communicate(timeout=120)
        assert run.returncode != 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in children)
    finally:
        for pid in (pid for pid in [*children, run.pid] if Path(f"/proc/{pid}").exists()):
            os.kill(pid, signal.SIGKILL)
        run.communicate()
    assert open_run(tmp_path / "run").classifier.branches == ("weak", "strong")
