"""What the study found: mean and 95 % interval over seeds (Student's t), differences paired by seed.

python experiments/split_claim/summary.py digits            # prints Markdown, draws results/digits.png
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean

import matplotlib as mpl
import matplotlib.pyplot as plt

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import CORRUPTED, VIEWS, Arm, Table, markdown, read
from experiments.split_claim.study import ARMS
from renorm.metrics import Interval, over_runs

mpl.use("Agg")
HERE = Path(__file__).parent
COLUMNS = (*VIEWS, CORRUPTED)
COLORS = dict(zip(ARMS, ("#2563eb", "#475569", "#059669", "#d97706", "#7c3aed", "#db2777", "#0891b2"), strict=True))


def best_control(table: Table) -> Arm:
    """The plain arm, with its own statistics, that is best on clean images; both while none is finished."""
    plain = [(arm, "source") for arm in ("both", "weak", "strong") if (arm, "source") in table]
    return max(plain or [("both", "source")], key=lambda key: clean_accuracy(table, key))


def clean_accuracy(table: Table, key: Arm) -> float:
    """Mean over seeds."""
    return fmean(columns["clean"] for columns in table[key].values()) if key in table else 0.0


def questions(table: Table) -> dict[str, tuple[Arm, Arm]]:
    """What the paper asks, as differences."""
    control, both = best_control(table), ("both", "source")
    return {
        f"weak bank of split, against the best plain arm ({control[0]})": (("split", "weak"), control),
        f"strong bank of split, against it ({control[0]})": (("split", "strong"), control),
        "clean statistics through the weak affine": (("split", "clean@weak"), ("split", "weak")),
        "clean statistics of the plain model (both)": (("both", "clean@source"), both),
        "weak views' statistics of the plain model (both)": (("both", "weak@source"), both),
        "strong bank against weak bank": (("split", "strong"), ("split", "weak")),
        "weak statistics through the strong affine, against the weak bank": (
            ("split", "weak@strong"),
            ("split", "weak"),
        ),
        "split, against both": (("split", "weak"), both),
        "only the affine split, against both": (("shared-statistics", "weak"), both),
        "only the statistics split, against both": (("shared-affine", "weak"), both),
        "clean branch in place of the weak one": (("clean-branch", "clean"), ("split", "weak")),
    }


def draw(table: Table, path: Path, title: str) -> None:
    """Accuracy against robustness: one point per arm and bank, the blends of split's banks joined by a line."""
    figure, axes = plt.subplots(figsize=(8, 5.5), dpi=150)
    for arm, color in COLORS.items():
        points = {bank: seeds for (name, bank), seeds in table.items() if name == arm and "@" not in bank}
        blends = sorted((p for p in points.items() if arm == "split"), key=lambda p: share_of_strong(p[0]))
        middle = [(centre(s, "clean").value, centre(s, "corrupted").value) for _, s in blends]
        axes.plot(*zip(*middle, strict=True) if middle else ((), ()), color=color, lw=1, zorder=1)
        for bank, seeds in points.items():
            if "+" in bank:
                continue
            x, y = centre(seeds, "clean"), centre(seeds, "corrupted")
            axes.errorbar(x.value, y.value, half(y), half(x), color=color, marker="o", lw=0.8, capsize=2)
            label = arm if bank == "source" else f"{arm}: {bank}"
            axes.annotate(label, (x.value, y.value), (5, 5), textcoords="offset points", fontsize=9, color=color)
    axes.set_xlabel("accuracy on clean test images in %")
    axes.set_ylabel("mean accuracy under corruptions in %")
    axes.set_title(title, loc="left", fontsize=11, weight="bold")
    axes.grid(color="#e2e8f0")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path)


def share_of_strong(bank: str) -> float:
    """Of a mixture or a branch."""
    return float(bank.rpartition(":")[2]) if "+" in bank else float(bank == "strong")


def centre(seeds: Mapping[int, Mapping[str, float]], column: str) -> Interval:
    """Mean over seeds with its interval; one seed has no width."""
    values = [columns[column] for columns in seeds.values()]
    return over_runs(values) if len(values) > 1 else Interval(values[0], values[0], values[0])


def half(interval: Interval) -> float:
    """Half of its width."""
    return (interval.high - interval.low) / 2


if __name__ == "__main__":
    found = read(HERE / "results" / sys.argv[1])
    seeds = len({seed for each in found.values() for seed in each})
    print(markdown(found, list(ARMS), questions(found), COLUMNS))
    draw(
        found,
        HERE / "results" / f"{sys.argv[1]}.png",
        f"{sys.argv[1]}: mean and 95 % interval over {seeds} seeds" if seeds > 1 else f"{sys.argv[1]}: one seed",
    )
