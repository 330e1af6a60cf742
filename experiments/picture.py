"""Draw a run's table bank x shift as a picture.

renorm demo && renorm evaluate runs/demo/run --adapt 32
python experiments/picture.py runs/demo/run/results.csv docs/images/demo.png "title"
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt

mpl.use("Agg")


def table(path: Path) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
    """Banks and shifts in their order, and accuracies in %, corruptions averaged over severities."""
    cells: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    with path.open() as file:
        for row in csv.DictReader(file):
            cells[row["bank"], row["shift"]].append(100 * float(row["accuracy"]))
    banks = list(dict.fromkeys(bank for bank, _ in cells))
    shifts = list(dict.fromkeys(shift for _, shift in cells))
    return banks, shifts, {key: sum(values) / len(values) for key, values in cells.items()}


def draw(path: Path, out: Path, title: str) -> None:
    """One cell per bank and shift, the best of each shift in bold."""
    banks, shifts, accuracy = table(path)
    banks = [bank for bank in banks if "+" not in bank]
    figure, axes = plt.subplots(figsize=(1.35 * len(banks) + 2.2, 0.5 * len(shifts) + 1.5), dpi=150)
    values = [[accuracy[bank, shift] for bank in banks] for shift in shifts]
    low, high = min(map(min, values)) - 5, 115
    axes.imshow(values, cmap="YlGnBu", aspect="auto", vmin=low, vmax=high)
    for y, row in enumerate(values):
        for x, value in enumerate(row):
            weight, color = (
                "bold" if value >= max(row) - 0.05 else "normal",
                "white" if (value - low) / (high - low) > 0.55 else "black",
            )
            axes.text(x, y, f"{value:.1f}", ha="center", va="center", fontsize=11, weight=weight, color=color)
    axes.set_xticks(range(len(banks)), [bank.replace("@", "\n@") for bank in banks], fontsize=11)
    names = [shift.replace("_", " ") for shift in shifts]
    axes.set_yticks(range(len(shifts)), names, fontsize=11)
    axes.tick_params(length=0, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.spines[:].set_visible(False)
    figure.suptitle(title, fontsize=12, x=0.02, ha="left", weight="bold")
    figure.tight_layout()
    figure.savefig(out)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
