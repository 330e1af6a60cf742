"""Does it help to train on attacked images through norms of their own, and to let the two share an affine?

    python experiments/adversarial/study.py digits runs/adversarial-digits --seeds 0 1 2
    python experiments/adversarial/study.py cifar10-resnet8 runs/adversarial-resnet8 --data CIFAR10 --seeds 0 1 2
    python experiments/adversarial/study.py cifar10-preact18 runs/adversarial --data CIFAR10 --seeds 0 1 2 --jobs 3   # a GPU

Three arms on the same images, order, random starts and initial weights: BN, AuxBN, SaAuxBN of Gong et al., WACV 2022. Both
branches see one weak view of each image, the branch adv attacked by PGD-7. The last setting has their network, epochs,
batch, weight decay and attack; unlike theirs, the rate falls as a cosine, attacks see the running statistics (their code
attacks in training mode: ``--attack-mode train``), and affines of sandwiches start as the identity and do not decay. Stop the
study whenever you like and start it again; summary.py reads its tables.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import Study

VIEWS = ["--branches", "clean", "adv", "--views", "weak", "adv"]
NORMS = {"BN": "shared", "AuxBN": "split", "SaAuxBN": "sandwich"}
ARMS = {arm: ["--norm", norm, *VIEWS] for arm, norm in NORMS.items()}
CIFAR = ["--eps", "8/255", "--batch", "256", "--rate", "0.1", "--weight-decay", "5e-4", "--num-workers", "2"]
FAST = ["--precision", "bf16", "--memory-format", "channels_last"]
SETTINGS = {
    "digits": ["--data", "digits", "--model", "resnet8", "--epochs", "6", "--batch", "128", "--eps", "32/255"],
    "cifar10-resnet8": [*CIFAR, "--model", "resnet8", "--epochs", "15"],
    "cifar10-preact18": [*CIFAR, *FAST, "--model", "preact-resnet18", "--epochs", "200"],
}
SHIFTS = ("clean", "pgd:10", "pgd:20")


def evaluated(setting: str, arm: str) -> list[str]:
    """The published attacks, each bank attacked itself; elsewhere than on the digits also one that needs no gradient's size."""
    banks = ["source"] if arm == "BN" else ["clean", "adv"]
    return ["--banks", *banks, "--shifts", *SHIFTS, *([] if setting == "digits" else ["fgsm"])]


if __name__ == "__main__":
    Study(Path(__file__).parent, ARMS, SETTINGS, evaluated).main(__doc__)
