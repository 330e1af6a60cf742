"""Does it help to train on attacked images through norms of their own, and to let the two share an affine?

    python experiments/adversarial/study.py digits runs/adversarial-digits --seeds 0 1 2
    python experiments/adversarial/study.py cifar10-wrn-10-1 runs/adversarial-wrn --data CIFAR10 --seeds 0 1 2
    python experiments/adversarial/study.py cifar10-preact18 runs/adversarial --data CIFAR10 --seeds 0 1 2 --jobs 3   # a GPU

Three arms on the same images, order, random starts and initial weights: BN, AuxBN, SaAuxBN of Gong et al., WACV 2022. Both
branches see one weak view of each image, the branch adv attacked by PGD-7 (by two steps of 5/255 in the setting for two cores,
a pre-activation Wide ResNet-10-1). The last setting has their network, epochs, batch, weight decay and attack; unlike theirs,
the rate falls as a cosine, attacks see the running statistics (their code attacks in training mode: ``--attack-mode train``),
and affines of sandwiches start as the identity and do not decay. Stop the study whenever you like and start it again;
summary.py reads its tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Cell, Study

VIEWS = ["--branches", "clean", "adv", "--views", "weak", "adv"]
NORMS = {"BN": "shared", "AuxBN": "split", "SaAuxBN": "sandwich"}
ARMS = {arm: ["--norm", norm, *VIEWS] for arm, norm in NORMS.items()}
STEPS = ["--batch", "256", "--rate", "0.1", "--weight-decay", "5e-4", "--memory-format", "channels_last"]
CIFAR = ["--eps", "8/255", *STEPS]
QUICK = ["--attack-steps", "2", "--attack-step-size", "5/255", "--warmup", "0.25"]
SETTINGS = {
    "digits": ["--data", "digits", "--model", "resnet8", "--epochs", "6", "--batch", "128", "--eps", "32/255"],
    "cifar10-wrn-10-1": [*CIFAR, *QUICK, "--model", "wrn-10-1", "--epochs", "2"],
    "cifar10-preact18": [
        *[*CIFAR, "--model", "preact-resnet18", "--epochs", "200"],
        *["--precision", "bf16", "--num-workers", "2"],
    ],
}
SHIFTS = ("clean", "pgd:10", "pgd:20")


def trained(cell: Cell) -> list[str]:
    """What an arm is trained with."""
    return [*SETTINGS[cell.setting], *ARMS[cell.arm]]


def evaluated(cell: Cell) -> list[list[str]]:
    """The published attacks; for two cores on 2,000 images, and the branch that was trained for them alone."""
    banks = ["source"] if cell.arm == "BN" else ["adv", "clean"]
    if cell.setting == "cifar10-wrn-10-1":
        attacks = ["--shifts", *SHIFTS[1:], "--attack-step-size", "2/255", "--num-images", "2000"]
        return [["--banks", *banks, "--shifts", "clean"], ["--banks", banks[0], *attacks]]
    return [["--banks", *banks, "--shifts", *SHIFTS, *([] if cell.setting == "digits" else ["fgsm"])]]


STUDY = Study(Path(__file__).parent, list(ARMS), list(SETTINGS), trained, evaluated)

if __name__ == "__main__":
    STUDY.main(__doc__)
