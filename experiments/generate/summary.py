"""Tables of a setting: what pictures of each arm are worth by each bank, and what arms and banks differ by, paired by seed.

python experiments/generate/summary.py digits
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from renorm.metrics import over_runs

RESULTS = Path(__file__).parent / "results"
MEASURES = {"KID": 1000, "agreement": 100}  # and what they are told in: thousandths, percent
BANK = "recalibrated"
ARMS = (
    ("sandwich", "conditional"),
    ("sandwich", "conditional-2x"),
    ("conditional-2x", "conditional"),
    ("conditional", "shared"),
)
BANKS = ("running", "batch:64", "truncated:1")

Numbers = Mapping[tuple[str, str, str], Mapping[int, float]]  # arm, bank, measure: by seed


def read(folder: Path) -> Numbers:
    """The numbers of all finished runs."""
    found: defaultdict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for path in sorted(folder.glob("*.csv")):
        arm, _, seed = path.stem.rpartition("-")
        with path.open() as file:
            for row in csv.DictReader(file):
                measure = row["measure"].partition("[")[0]
                if measure in MEASURES:
                    found[arm, row["bank"], measure][int(seed)] = MEASURES[measure] * float(row["value"])
    return found


def shown(values: Sequence[float], sign: str = "") -> str:
    """Mean and its interval over seeds (Student's t); a single seed has none."""
    if not values:
        return ""
    found = over_runs(values)
    return f"{found.value:{sign}.1f}" + (f" [{found.low:{sign}.1f}, {found.high:{sign}.1f}]" if len(values) > 1 else "")


def paired(a: Mapping[int, float], b: Mapping[int, float]) -> list[float]:
    """What the first has more, of the seeds that both have."""
    return [a[seed] - b[seed] for seed in sorted(a.keys() & b.keys())]


def arms_table(found: Numbers) -> list[str]:
    """A line for each arm and bank."""
    lines = ["| arm (seeds) | bank | KID x 1000 | agreement in % |", "|---|---|---|---|"]
    for arm, bank in dict.fromkeys((arm, bank) for arm, bank, _ in found):
        cells = [found.get((arm, bank, measure), {}) for measure in MEASURES]
        lines.append(f"| {arm} ({len(cells[0])}) | {bank} | {' | '.join(shown(list(c.values())) for c in cells)} |")
    return lines


def differences(found: Numbers) -> list[str]:
    """A line for each pair of arms, and of banks over all arms."""
    lines = ["| more | than | seeds | KID x 1000 | agreement in points |", "|---|---|---|---|---|"]
    for a, b in ARMS:
        lines += _line(a, b, [[paired(found.get((a, BANK, m), {}), found.get((b, BANK, m), {}))] for m in MEASURES])
    names = list(dict.fromkeys(arm for arm, _, _ in found))
    for bank in BANKS:
        pairs = [
            [paired(found.get((arm, bank, m), {}), found.get((arm, BANK, m), {})) for arm in names] for m in MEASURES
        ]
        lines += _line(bank, f"{BANK}, all arms", pairs)
    return lines


def _line(a: str, b: str, pairs: Sequence[Sequence[Sequence[float]]]) -> list[str]:
    values = [[value for part in parts for value in part] for parts in pairs]
    if not values[0]:
        return []
    return [f"| {a} | {b} | {len(values[0])} | {' | '.join(shown(each, '+') for each in values)} |"]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("setting")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = read(asked.results / asked.setting)
    print("\n".join([*arms_table(found), "", *differences(found)]))


if __name__ == "__main__":
    main()
