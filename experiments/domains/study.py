"""A domain that training never saw: one norm for the others, one each (split), or one each on top of a shared affine (sandwich).

    python experiments/domains/study.py pacs-wrn-10-1 runs/domains --data PACS --seeds 0 1 2

PACS stands for a folder of Parquet files, one a domain, with a column ``domain``. Each domain is left out in turn; all three
norms see the same images, order, crops and initial weights. A branch's statistics are its own under split norms; under sandwich
norms all domains share one set, as published for classes in one batch. The unseen domain is met by each bank, by the even
mixture of two (split), by the shared affine alone (sandwich: unknown), and by banks adapted to 32 of its images. Stop the study
whenever you like and start it again; summary.py reads its tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Cell, Study

DOMAINS = ("photo", "art_painting", "cartoon")
NORMS = {
    "shared": ["--norm", "shared"],
    "split": ["--norm", "split"],
    "sandwich": ["--norm", "sandwich", "--share", "statistics"],
}
ARMS = [f"{norm}-without-{domain}" for domain in DOMAINS for norm in NORMS]
SETTINGS = {
    "pacs-wrn-10-1": [
        *["--size", "32", "--model", "wrn-10-1", "--epochs", "8", "--batch", "64"],
        *["--memory-format", "channels_last"],
    ],
}


def parts(arm: str) -> tuple[str, str, list[str]]:
    """Norm, the domain left out, the domains trained on."""
    norm, _, left = arm.partition("-without-")
    return norm, left, [domain for domain in DOMAINS if domain != left]


def trained(cell: Cell) -> list[str]:
    """What an arm is trained with."""
    norm, _, seen = parts(cell.arm)
    return [*SETTINGS[cell.setting], *NORMS[norm], "--branches", "domains", "--domains", *seen]


def evaluated(cell: Cell) -> list[list[str]]:
    """Every bank on held-out images of the domains seen, and on all of the unseen one, of which 32 drawn with the seed adapt."""
    norm, left, seen = parts(cell.arm)
    banks = {
        "shared": ["source"],
        "split": [*seen, "+".join(f"{name}:0.5" for name in seen)],
        "sandwich": [*seen, "unknown"],
    }
    unseen = ["--data", f"{cell.data}/{left}.parquet", "--shifts", left]
    adapted = ["--adapt", "32", "--prior", "auto", "--seed", str(cell.seed)]
    return [["--banks", *banks[norm], "--shifts", *seen], ["--banks", *banks[norm], *unseen, *adapted]]


STUDY = Study(Path(__file__).parent, ARMS, list(SETTINGS), trained, evaluated)

if __name__ == "__main__":
    STUDY.main(__doc__)
