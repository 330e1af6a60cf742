"""Training on domains from the shell, and attacks among its shifts."""

from pathlib import Path
from typing import Any

from renorm.evaluate import read_results
from renorm.recipes import open_run
from renorm.train import Run
from tests.cli.conftest import Command
from tests.data.pictures import structs, write_parquet

NAMES = ["photo", "art", "sketch"]


def columns(count: int) -> dict[str, Any]:
    """Images in three domains."""
    return {
        "image": structs([20 * i % 200 for i in range(count)], side=16),
        "label": [i % 2 for i in range(count)],
        "domain": [NAMES[i % 3] for i in range(count)],
    }


def test_domains_as_branches(renorm_command: Command, tmp_path: Path):
    for split, count in (("train", 48), ("test", 12)):
        write_parquet(tmp_path / "data" / f"{split}.parquet", columns(count), {"label": ["cat", "dog"]})
    options = ("--model", "resnet8", "--epochs", "1", "--batch", "16", "--rate", "0.01")
    train = ("train", "--data", "data", "--branches", "domains", "--domains", "photo", "art", "--out", "./run")
    result = renorm_command(*train, *options, "--norm", "sandwich", "--share", "statistics", "--table-images", "12")
    assert result.status == 0, result.err
    named = open_run(tmp_path / "run")
    assert named.classifier.branches == named.config.populations == ("photo", "art")
    assert set(Run(tmp_path / "run").history()[0]) >= {"test/photo", "test/art", "loss/domains"}
    for shown in ("unknown", "sketch", "photo"):
        assert shown in result.out
    again = renorm_command("train", "--resume", "--out", "./run")
    assert again.status == 0, again.err
    adapted = renorm_command(
        "evaluate", "./run", "--shifts", "sketch", "--adapt", "4", "--banks", "photo", "--out", "a.csv"
    )
    assert adapted.status == 0, adapted.err
    rows = (tmp_path / "a.csv").read_text().splitlines()[1:]
    assert [*dict.fromkeys(row.split(",")[0] for row in rows)] == [
        "photo",
        "adapted@photo",
        "adapted@art",
        "adapted@unknown",
    ]
    attacked = renorm_command("evaluate", "./run", "--shifts", "fgsm", "--eps", "4/255", "--banks", "photo", "art")
    assert attacked.status == 0, attacked.err
    protocol = read_results(tmp_path / "run" / "results.csv").protocol
    assert protocol.attacks["fgsm"] == "linf 4/255, against the bank evaluated"
    through = (
        "evaluate",
        "./run",
        "--shifts",
        "pgd:2",
        "--banks",
        "photo",
        "--attack-branch",
        "art",
        "--attack-ball",
        "l2",
    )
    attacked = renorm_command(*through, "--no-attack-start")
    assert attacked.status == 0, attacked.err
    protocol = read_results(tmp_path / "run" / "results.csv").protocol
    assert "l2 0.5, step 0.125, 2 steps, started at the image, against art" in protocol.attacks.values()
    wrong = renorm_command("evaluate", "./run", "--shifts", "pgd:2", "--attack-branch", "arts")
    assert wrong.status == 1
    assert "unknown bank 'arts'" in wrong.err
    wrong = renorm_command(
        "train", "--data", "data", "--branches", "domains", "--domains", "photo", "clip", "--out", "other"
    )
    assert wrong.status == 1
    assert "two or more of art, photo, sketch are needed" in wrong.err
    assert not (tmp_path / "other").exists()
