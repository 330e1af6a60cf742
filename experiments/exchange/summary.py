"""What the study found: mean and 95 % interval over seeds (Student's t), differences paired by seed, as Markdown.

python experiments/exchange/summary.py digits
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
from experiments.arms import CORRUPTED, Arm, markdown, read
from experiments.exchange.study import ARMS, KINDS, name

COLUMNS = ("clean", CORRUPTED)
BANKS = {"plain": ["source"], "split": ["weak", "strong"]}


def questions() -> dict[str, tuple[Arm, Arm]]:
    """What the paper asks, as differences within a kind of arms and a bank."""
    asked = {"exchange, against none": ("exchange", ""), "CutMix, against none": ("cutmix", "")}
    asked |= {"both, against CutMix": ("both", "cutmix"), "both, against none": ("both", "")}
    return {
        f"{kind}, {bank}: {question}": ((name(kind, a), bank), (name(kind, b), bank))
        for kind in KINDS
        for bank in BANKS[kind]
        for question, (a, b) in asked.items()
    }


if __name__ == "__main__":
    print(markdown(read(Path(__file__).parent / "results" / sys.argv[1]), list(ARMS), questions(), COLUMNS))
