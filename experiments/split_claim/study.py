"""Does split batch norm help, and what of it? Seven arms on the same images, order, initial weights and compute.

    python experiments/split_claim/study.py digits runs/claim-digits --seeds 0 1 2 3 4 --jobs 2
    python experiments/split_claim/study.py cifar10-16px runs/claim-16px --data CIFAR10 --seeds 0 1 2
    python experiments/split_claim/study.py cifar10-resnet20 runs/claim-resnet20 --data CIFAR10
    python experiments/split_claim/study.py cifar10-wrn-28-2 runs/claim-wrn --data CIFAR10 --seeds 0 1 2 3 4 --jobs 6   # a GPU

Every arm sees two views per image and step. A (seed, arm) is a run of its own: stop the study whenever you like and start it
again, it goes on where it was. Tables of finished runs are copied to results/SETTING/ARM-SEED.csv; summary.py reads those.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import VIEWS, Cell, Study

SPLIT = ["--norm", "split", "--branches", "weak", "strong"]
SHARED = ["--norm", "shared", "--branches"]
ARMS = {  # the most telling first, so that a study cut short says most
    "split": SPLIT,
    "both": [*SHARED, "weak", "strong"],
    "weak": [*SHARED, "weak", "again", "--views", "weak", "weak"],
    "strong": [*SHARED, "strong", "again", "--views", "strong", "strong"],
    "shared-affine": [*SPLIT, "--share", "affine"],
    "shared-statistics": [*SPLIT, "--share", "statistics"],
    "clean-branch": ["--norm", "split", "--branches", "clean", "strong"],
}

CIFAR = ["--num-ops", "3", "--magnitude", "4", "--memory-format", "channels_last"]
SETTINGS = {
    "digits": ["--data", "digits", "--model", "resnet8", "--epochs", "16"],
    "cifar10-16px": [*CIFAR, "--size", "16", "--model", "resnet20", "--epochs", "30"],
    "cifar10-resnet20": [*CIFAR, "--model", "resnet20", "--epochs", "15"],
    "cifar10-wrn-28-2": [*CIFAR, "--model", "wrn-28-2", "--epochs", "30", "--precision", "bf16", "--num-workers", "2"],
}


def banks(arm: str) -> list[str]:
    """Own statistics, and those of weak, strong and clean images through each affine."""
    if arm in ("both", "weak", "strong"):
        return ["source", "weak@source", "strong@source", "clean@source"]
    first = "clean" if arm == "clean-branch" else "weak"
    mixtures = [f"{first}:{w}+strong:{1 - w:g}" for w in (0.75, 0.5, 0.25)] if arm == "split" else []
    return [
        first,
        "strong",
        *(f"{view}@{own}" for own in (first, "strong") for view in ("weak", "strong", "clean")),
        *mixtures,
    ]


def trained(cell: Cell) -> list[str]:
    """What an arm is trained with."""
    return [*SETTINGS[cell.setting], *ARMS[cell.arm]]


def evaluated(cell: Cell) -> list[list[str]]:
    """The banks of an arm under the usual shifts; for two cores, corruptions of middle severity on 1,000 images."""
    call = ["--banks", *banks(cell.arm)]
    if cell.setting in ("cifar10-resnet20", "cifar10-16px"):
        return [[*call, "--shifts", *VIEWS], [*call, "--shifts", "standard:3", "--num-images", "1000"]]
    return [call]


STUDY = Study(Path(__file__).parent, list(ARMS), list(SETTINGS), trained, evaluated)

if __name__ == "__main__":
    STUDY.main(__doc__)
