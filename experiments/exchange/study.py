"""Does moment exchange help, alone, beside CutMix, and with split branches? Eight arms on the same images, order and draws.

    python experiments/exchange/study.py digits runs/exchange-digits --seeds 0 1 2
    python experiments/exchange/study.py cifar10-wrn-10-1 runs/exchange-wrn-10-1 --data CIFAR10 --seeds 0 1 2
    python experiments/exchange/study.py cifar10-16px runs/exchange-16px --data CIFAR10 --seeds 0 1 2
    python experiments/exchange/study.py cifar10-resnet20 runs/exchange-resnet20 --data CIFAR10 --seeds 0 1 2
    python experiments/exchange/study.py cifar10-wrn-28-2 runs/exchange-wrn --data CIFAR10 --seeds 0 1 2 --jobs 6   # a GPU

Plain arms see a weak view of each image, split ones a weak and a strong view: of 128 images a step in both, or (wrn-10-1, made
for two cores) of 64, in half of the epochs, which is the compute of the plain arms. Arms are to be compared within their kind.
Weight, probability and position are the published ones for small images (renorm train --help). Stop the study whenever you like
and start it again; summary.py reads its tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Cell, Study

MIXES = {"": [], "exchange": ["--mix", "exchange"], "cutmix": ["--mix", "cutmix"], "both": ["--mix", "exchange+cutmix"]}
KINDS = {
    "plain": ["--norm", "shared", "--branches", "weak"],
    "split": ["--norm", "split", "--branches", "weak", "strong"],
}


def name(kind: str, mix: str) -> str:
    """Of an arm."""
    return f"{kind}-{mix}" if mix else kind


ARMS = {name(kind, mix): [*KINDS[kind], *MIXES[mix]] for kind in KINDS for mix in MIXES}
CIFAR = ["--num-ops", "3", "--magnitude", "4", "--memory-format", "channels_last"]
SHORT = [*CIFAR, "--model", "wrn-10-1", "--batch", "128", "--warmup", "0.25"]
LONG = [*CIFAR, "--num-workers", "2", "--epochs", "200"]
STEPS = {"plain": ["--batch", "128"], "split": ["--batch", "256"]}
SETTINGS = {
    "digits": {kind: ["--data", "digits", "--model", "resnet8", "--epochs", "16", *STEPS[kind]] for kind in KINDS},
    "cifar10-wrn-10-1": {"plain": [*SHORT, "--epochs", "2"], "split": [*SHORT, "--epochs", "1"]},
    "cifar10-16px": {
        kind: [*CIFAR, "--size", "16", "--model", "resnet20", "--epochs", "60", *STEPS[kind]] for kind in KINDS
    },
    "cifar10-resnet20": {kind: [*LONG, "--model", "resnet20", *STEPS[kind]] for kind in KINDS},
    "cifar10-wrn-28-2": {kind: [*LONG, "--model", "wrn-28-2", "--precision", "bf16", *STEPS[kind]] for kind in KINDS},
}


def trained(cell: Cell) -> list[str]:
    """What an arm is trained with."""
    kind, _, _ = cell.arm.partition("-")
    return [*SETTINGS[cell.setting][kind], *ARMS[cell.arm]]


def evaluated(cell: Cell) -> list[list[str]]:
    """The standard corruptions, of 500 images each for two cores; four of them on the digits."""
    banks = ["--banks", "source"] if cell.arm.startswith("plain") else ["--banks", "weak", "strong"]
    if cell.setting in ("cifar10-wrn-10-1", "cifar10-16px"):
        return [[*banks, "--shifts", "clean"], [*banks, "--shifts", "standard", "--num-images", "500"]]
    return [[*banks, "--shifts", "clean", "quick" if cell.setting == "digits" else "standard"]]


STUDY = Study(Path(__file__).parent, list(ARMS), list(SETTINGS), trained, evaluated)

if __name__ == "__main__":
    STUDY.main(__doc__)
