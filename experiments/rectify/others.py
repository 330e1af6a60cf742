"""TENT and prediction-time normalization beside the default, and what networks of robust trainings gain.

python experiments/rectify/others.py tent OUT...        of `collect.py tent`, on the cells that both have
python experiments/rectify/others.py robust OUT...      of `collect.py grid` and `collect.py auto`
"""

import argparse
from pathlib import Path

import torch
from judge import accuracy, read
from safetensors.torch import load_file

from renorm import metrics


def tent(folder: Path) -> None:
    """Mean accuracy over the cells and draws that were run."""
    rows, columns = read(folder, 32), {}
    for file in sorted(folder.glob("*.tent.safetensors")):
        cell, draw, *_ = file.name.split(".")
        row, found = rows[cell, int(draw)], load_file(file)
        source, full = accuracy(row)[-1], accuracy(row)[0]
        values = {"source": source, "full replacement": full, "default": 100 * row["auto"].double().mean()}
        values |= {"prediction-time, batches of 100": 100 * found["batch"].double().mean()}
        values |= {"TENT, batches of 100": 100 * found["tent"].double().mean()}
        for name, value in values.items():
            columns.setdefault(name, []).append(float(value))
    print(folder.name, len(columns["source"]), "cells and draws")
    for name, values in columns.items():
        print(f"  {name:32} {sum(values) / len(values):.2f}")


def robust(folder: Path) -> None:
    """Clean and corrupted accuracy of the source and of the default."""
    rows = read(folder, 32)
    for kind in ("clean", "corrupted"):
        chosen = [row for (cell, _), row in rows.items() if (cell == "clean") == (kind == "clean")]
        source = torch.tensor([accuracy(row)[-1] for row in chosen])
        usual = torch.tensor([accuracy(row)[list(row["priors"]).index(64)] for row in chosen])
        auto = torch.stack([100 * row["auto"].double().mean() for row in chosen])
        gain = metrics.bootstrap(auto - source, 0)
        means = f"source {source.mean():.1f}  prior 64 {usual.mean():.1f}  default {auto.mean():.1f}"
        print(f"{folder.name:20} {kind:10} {means}  gain {gain:+.1f}")


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("tent", "robust"))
    parser.add_argument("folders", type=Path, nargs="+")
    given = parser.parse_args()
    for folder in given.folders:
        (tent if given.what == "tent" else robust)(folder)


if __name__ == "__main__":
    main()
