"""What the study found, over all seeds and domains left out (Student's t), differences paired by both, as Markdown.

python experiments/domains/summary.py pacs-wrn-10-1
"""

import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Arm, Table, markdown, read
from experiments.domains.study import ARMS, DOMAINS, NORMS, parts

SEEN, UNSEEN = "seen domains", "unseen domain"
QUESTIONS: dict[str, tuple[Arm, Arm]] = {
    "split, own branch, against shared": (("split", "own"), ("shared", "own")),
    "sandwich, own branch, against shared": (("sandwich", "own"), ("shared", "own")),
    "sandwich, own branch, against split's": (("sandwich", "own"), ("split", "own")),
    "shared norms: adapted, against source": (("shared", "adapted"), ("shared", "own")),
    "split: adapted, against the branches as they are": (("split", "adapted"), ("split", "own")),
    "split: even mixture, against the branches as they are": (("split", "mixture"), ("split", "own")),
    "sandwich: unknown, against the branches as they are": (("sandwich", "unknown"), ("sandwich", "own")),
    "sandwich: unknown adapted, against unknown": (("sandwich", "unknown adapted"), ("sandwich", "unknown")),
    "sandwich unknown, against shared norms": (("sandwich", "unknown"), ("shared", "own")),
    "sandwich unknown adapted, against shared norms adapted": (("sandwich", "unknown adapted"), ("shared", "adapted")),
    "split adapted, against shared norms adapted": (("split", "adapted"), ("shared", "adapted")),
}


def cases(
    found: Mapping[str, Mapping[str, float]], norm: str, left: str, seen: list[str]
) -> Iterator[tuple[str, str, float]]:
    """Way to normalize, column and accuracy of one run. Where each branch can serve the unseen domain, their mean."""
    own = {domain: "source" if norm == "shared" else domain for domain in seen}
    banks = sorted(set(own.values()))
    yield "own", SEEN, fmean(found[own[domain]][domain] for domain in seen)
    yield "own", UNSEEN, fmean(found[bank][left] for bank in banks)
    adapted = [f"adapted@{bank}" for bank in banks] if norm != "shared" else ["adapted"]
    yield "adapted", UNSEEN, fmean(found[bank][left] for bank in adapted)
    for name, bank in {"mixture": "+".join(f"{d}:0.5" for d in seen), "unknown": "unknown"}.items():
        if bank in found:
            yield name, SEEN, fmean(found[bank][domain] for domain in seen)
            yield name, UNSEEN, found[bank][left]
    if "adapted@unknown" in found:
        yield "unknown adapted", UNSEEN, found["adapted@unknown"][left]


def regrouped(table: Table) -> Table:
    """By norm and way to normalize; a seed with a domain left out is one observation."""
    grouped: defaultdict[Arm, dict[int, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for arm in ARMS:
        norm, left, seen = parts(arm)
        banks = {bank: seeds for (name, bank), seeds in table.items() if name == arm}
        for seed in sorted({seed for seeds in banks.values() for seed in seeds}):
            found = {bank: seeds[seed] for bank, seeds in banks.items()}
            for way, column, accuracy in cases(found, norm, left, seen):
                grouped[norm, way][seed * len(DOMAINS) + DOMAINS.index(left)][column] = accuracy
    return grouped


if __name__ == "__main__":
    results = regrouped(read(Path(__file__).parent / "results" / sys.argv[1]))
    print(markdown(results, list(NORMS), QUESTIONS, (SEEN, UNSEEN)))
