"""What the study found: mean and 95 % interval over seeds (Student's t), differences paired by seed, as Markdown.

python experiments/adversarial/summary.py digits
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.adversarial.study import ARMS, SHIFTS
from experiments.arms import Arm, markdown, read

QUESTIONS: dict[str, tuple[Arm, Arm]] = {
    "AuxBN's clean branch, against BN": (("AuxBN", "clean"), ("BN", "source")),
    "SaAuxBN's clean branch, against AuxBN's": (("SaAuxBN", "clean"), ("AuxBN", "clean")),
    "AuxBN's adv branch, against BN": (("AuxBN", "adv"), ("BN", "source")),
    "SaAuxBN's adv branch, against AuxBN's": (("SaAuxBN", "adv"), ("AuxBN", "adv")),
    "SaAuxBN's adv branch, against BN": (("SaAuxBN", "adv"), ("BN", "source")),
}

if __name__ == "__main__":
    print(markdown(read(Path(__file__).parent / "results" / sys.argv[1]), list(ARMS), QUESTIONS, SHIFTS))
