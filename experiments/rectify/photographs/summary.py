"""Print the tables of what `study.py` found.

python experiments/rectify/photographs/summary.py rules FILE... [--n 32] [--kind random] [--cells first|second]
python experiments/rectify/photographs/summary.py table FILE
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

import torch
from material import FIRST, SECOND
from torch import Tensor

from renorm.corruptions import STANDARD

Found = dict[tuple[str, str], dict[str, Tensor]]  # by draw and cell, by rule: which images were right
SAMPLES = 1000
WIDTHS = (28, 7, 22, 22, 7, 7, 7, 8, 0)


def read(file: Path, n: int, kind: str) -> Found:
    """All rows of one number of images: a hundred for a right image; and last the mean probability of the right class."""
    found: Found = {}
    with file.open() as lines:
        for row in csv.DictReader(lines):
            if (int(row["n"]), row["kind"]) == (n, kind):
                bits = [float(b) for b in f"{int(row['hits'], 16):b}"[1:]]
                found.setdefault((row["draw"], row["cell"]), {})[row["rule"]] = 100 * torch.tensor(
                    [*bits, float(row["true"])]
                )
    return found


def resampled(found: Found, keys: Sequence[tuple[str, str]], rule: str, to: str, seed: int = 0) -> Tensor:
    """Bootstraps of the difference of two rules by cell: draws first, then the images of a draw, the same for all cells.

    Shape: ``(samples, cells)``.
    """
    draws, cells = sorted({d for d, _ in keys}), list(dict.fromkeys(c for _, c in keys))
    apart = torch.stack([torch.stack([found[d, c][rule][:-1] - found[d, c][to][:-1] for c in cells]) for d in draws])
    g = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(SAMPLES):
        chosen = apart[torch.randint(len(draws), (len(draws),), generator=g)]
        images = torch.randint(apart.shape[2], (apart.shape[2],), generator=g)
        out.append(chosen[:, :, images].mean((0, 2)))
    return torch.stack(out)


def interval(samples: Tensor) -> str:
    """Of 95 %."""
    low, high = samples.quantile(torch.tensor([0.025, 0.975]))
    return f"[{low:+.1f}, {high:+.1f}]"


def over_cells(samples: Tensor, seed: int = 0) -> Tensor:
    """Means over cells that are drawn as well."""
    rows = torch.randint(
        samples.shape[1], (len(samples), samples.shape[1]), generator=torch.Generator().manual_seed(seed)
    )
    return samples.gather(1, rows).mean(1)


def rules(file: Path, n: int, kind: str, only: Sequence[str] | None) -> None:
    """Every rule against the source and the best fixed prior in hindsight."""
    found = {key: row for key, row in read(file, n, kind).items() if only is None or key[1] in only}
    names = list(dict.fromkeys(name for row in found.values() for name in row))
    full = [key for key, row in found.items() if "source" in row]
    per_draw = {d: {c for e, c in full if e == d} for d, _ in full}
    shared = set.intersection(*per_draw.values()) if per_draw else set()
    full = [key for key in full if key[1] in shared]
    draws = sorted({d for d, _ in full})
    print(f"\n{file.stem}: {len(shared)} cells, draws {' '.join(draws)}, n = {n}, {kind}")
    means = {name: mean_of(found, full, name) for name in names if all(name in found[key] for key in full)}
    best = max((name for name in means if name.startswith("prior")), key=lambda name: means[name])
    columns = ("rule", "mean", "to source", f"to {best}", "clean", "mild", "p", "mild p", "worst cell")
    print("".join(text.ljust(width) for text, width in zip(columns, WIDTHS, strict=True)))
    mild = [key for key in full if key[1] == "clean" or key[1].endswith(":1")]
    clean = [key for key in full if key[1] == "clean"]
    for name in means:
        gain, hindsight = (resampled(found, full, name, to) for to in ("source", best))
        apart = [mean_of(found, keys, name) - mean_of(found, keys, "source") for keys in (clean, mild)]
        sure = [probability(found, keys, name) for keys in (full, mild)]
        cells = [
            name,
            f"{means[name]:.1f}",
            f"{means[name] - means['source']:+.1f} {interval(over_cells(gain))}",
            f"{means[name] - means[best]:+.1f} {interval(over_cells(hindsight))}",
            *(f"{value:+.1f}" for value in apart),
            *(f"{value:.1f}" for value in sure),
            worst(gain, full),
        ]
        print("".join(text.ljust(width) for text, width in zip(cells, WIDTHS, strict=True)))


def mean_of(found: Found, keys: Sequence[tuple[str, str]], name: str) -> float:
    """Mean accuracy."""
    return float(torch.stack([found[key][name][:-1].mean() for key in keys]).mean())


def probability(found: Found, keys: Sequence[tuple[str, str]], name: str) -> float:
    """Mean probability of the right class."""
    return float(torch.stack([found[key][name][-1] for key in keys]).mean())


def worst(samples: Tensor, keys: Sequence[tuple[str, str]]) -> str:
    """The cell that lost most; and how many lie below -0.3 with all of their simultaneous 95 % intervals."""
    cells = list(dict.fromkeys(c for _, c in keys))
    centre, spread = samples.mean(0), samples.std(0).clamp(min=0.1)
    wide = ((samples - centre) / spread).abs().amax(1).quantile(0.95)
    below = int((centre + wide * spread < -0.3).sum())
    return f"{cells[int(centre.argmin())]} {centre.min():+.1f}, {below} surely below -0.3"


def table(file: Path) -> None:
    """Error by corruption, mean of five severities, and its ratio to the source's."""
    found = read(file, 32, "random")
    names = ["source", "published", "adapt_"]
    print("| corruption | " + " | ".join(names) + " |\n|---" + "|---" * len(names) + "|")
    errors: dict[str, list[float]] = {name: [] for name in names}
    for cell in ("clean", *STANDARD):
        rows = [row for (_, c), row in found.items() if c.split(":")[0] == cell and all(n in row for n in names)]
        if not rows:
            continue
        values = [float(torch.stack([row[name].mean() for row in rows]).mean()) for name in names]
        print(f"| {cell.replace('_', ' ')} | " + " | ".join(f"{v:.1f}" for v in values) + " |")
        if cell != "clean":
            for name, value in zip(names, values, strict=True):
                errors[name].append(100 - value)
    mean = {name: sum(e) / len(e) for name, e in errors.items()}
    ratio = {
        name: 100 * sum(a / b for a, b in zip(e, errors["source"], strict=True)) / len(e) for name, e in errors.items()
    }
    print("| mean error, 15 corruptions | " + " | ".join(f"{mean[n]:.1f}" for n in names) + " |")
    print("| mean ratio to the source's error, % | " + " | ".join(f"{ratio[n]:.1f}" for n in names) + " |")


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("rules", "table"))
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--kind", default="random")
    parser.add_argument("--cells", choices=("first", "second"))
    given = parser.parse_args()
    for file in given.files:
        if given.what == "table":
            table(file)
        else:
            rules(file, given.n, given.kind, {"first": FIRST, "second": SECOND, None: None}[given.cells])


if __name__ == "__main__":
    main()
