"""Does moment exchange help, alone, beside CutMix, and with split branches? Eight arms on the same images, order and draws.

    python experiments/exchange/study.py digits runs/exchange-digits --seeds 0 1 2
    python experiments/exchange/study.py cifar10-resnet20 runs/exchange-resnet20 --data CIFAR10 --seeds 0 1 2
    python experiments/exchange/study.py cifar10-wrn-28-2 runs/exchange-wrn --data CIFAR10 --seeds 0 1 2 --jobs 6   # a GPU

All arms see 128 images a step: plain ones a weak view of each, split ones a weak and a strong view, so the two kinds differ in
compute, and arms are to be compared within their kind. Weight, probability and position are the published ones for small
images (renorm train --help). Stop the study whenever you like and start it again; summary.py reads its tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Study

MIXES = {"": [], "exchange": ["--mix", "exchange"], "cutmix": ["--mix", "cutmix"], "both": ["--mix", "exchange+cutmix"]}
KINDS = {
    "plain": ["--norm", "shared", "--branches", "weak", "--batch", "128"],
    "split": ["--norm", "split", "--branches", "weak", "strong", "--batch", "256"],
}


def name(kind: str, mix: str) -> str:
    """Of an arm."""
    return f"{kind}-{mix}" if mix else kind


ARMS = {name(kind, mix): [*KINDS[kind], *MIXES[mix]] for kind in KINDS for mix in MIXES}
CIFAR = ["--num-ops", "3", "--magnitude", "4", "--memory-format", "channels_last", "--num-workers", "2"]
SETTINGS = {
    "digits": ["--data", "digits", "--model", "resnet8", "--epochs", "16"],
    "cifar10-resnet20": [*CIFAR, "--model", "resnet20", "--epochs", "200"],
    "cifar10-wrn-28-2": [*CIFAR, "--model", "wrn-28-2", "--epochs", "200", "--precision", "bf16"],
}


def evaluated(setting: str, arm: str) -> list[str]:
    """The standard corruptions; four of them on the digits."""
    del arm
    return ["--shifts", "clean", "quick" if setting == "digits" else "standard"]


if __name__ == "__main__":
    Study(Path(__file__).parent, ARMS, SETTINGS, evaluated).main(__doc__)
