"""Fifty thousand images: memory stays flat, and how far the work is is said."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import save_file

from renorm.extras import require
from renorm.models import create

IMAGES, SIDE, CLASSES = 50_000, 64, 10
PEAK = 2 * 2**20  # kilobytes

LIMITED = """
import resource, sys
from renorm.cli import main
status = main(sys.argv[1:])
print("PEAK", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(status)
"""


def photographs(number: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    found = []
    for _ in range(number):
        buffer = io.BytesIO()
        small = rng.integers(0, 255, (8, 8, 3), np.uint8)
        require("PIL.Image").fromarray(small).resize((SIDE, SIDE)).save(buffer, "JPEG")
        found.append(buffer.getvalue())
    return found


def as_parquet(folder: Path, data: list[bytes]) -> Path:
    arrow, parquet = require("pyarrow"), require("pyarrow.parquet")
    folder.mkdir()
    for file in range(5):
        rows = range(file * IMAGES // 5, (file + 1) * IMAGES // 5)
        images = [{"bytes": data[i % len(data)], "path": f"{i}.jpg"} for i in rows]
        table = arrow.table({"image": images, "label": [i % CLASSES for i in rows]})
        parquet.write_table(table, folder / f"test-0000{file}-of-00005.parquet", row_group_size=1000)
    return folder


def as_folders(folder: Path, data: list[bytes]) -> Path:
    for c in range(CLASSES):
        (folder / str(c)).mkdir(parents=True)
        for i, each in enumerate(data):
            path = folder / str(c) / f"{i}.jpg"
            path.write_bytes(each)
            for k in range(1, IMAGES // CLASSES // len(data)):
                os.link(path, folder / str(c) / f"{i}_{k}.jpg")
    return folder


def peak(*command: str) -> tuple[int, str]:
    """Kilobytes that a command needs, and what it says."""
    done = subprocess.run([sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rsplit("PEAK", 1)[1]), done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("write", [as_parquet, as_folders])
def test_fifty_thousand_images_hold_memory_flat(write, tmp_path: Path):
    weights = tmp_path / "weights.safetensors"
    save_file(create("resnet8", num_classes=CLASSES).state_dict(), weights)
    data = str(write(tmp_path / "images", photographs(100)))
    named = ("resnet8", "--weights", str(weights))
    needed, said = peak("evaluate", *named, "--data", data, "--shifts", "clean", "--banks", "source")
    assert needed < PEAK
    assert f"evaluating {data}" in said.replace("\n", "")
    assert "images/s" in said
    assert " s left" in said
    needed, said = peak("adapt", *named, "--images", data, "--num-judged", "0")
    assert needed < PEAK
    assert "images/s" in said
    needed, said = peak(
        "recalibrate",
        *named,
        "--images",
        data,
        "--split",
        "test",
        "--num-images",
        "0",
        "--bank",
        str(tmp_path / "b.safetensors"),
    )
    assert needed < PEAK
    assert "images/s" in said
