"""Rules where everything is far: the digits' network of `renorm demo` with the statistics of contrast 5, under all other shifts.

    renorm demo --out RUN
    python experiments/rectify/photographs/far.py RUN/plain.safetensors > experiments/rectify/photographs/results/far.txt

Clean images and 19 corruptions at severities 1, 3, 5; 32 to adapt to, 200 others to judge on, three draws. One line a severity.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from candidates import RULES, Before
from study import Statistics
from torch import Tensor

from renorm.corruptions import HELD_OUT, STANDARD, corrupt
from renorm.data import load
from renorm.models import create, load_weights

NAMES = ("source", "prior 16", "prior 64", "before", "library, 3 errors", "library", "library, garrote by s")
DRAWS, FEW, JUDGED = 3, 32, 200


def main() -> None:
    """Print the mean accuracy of every rule by severity."""
    torch.set_num_threads(1)
    model = load_weights(create("resnet8", num_classes=10), Path(sys.argv[1])).eval()
    data = load("digits", "test")
    pixels, labels = data.batch(range(len(data)))
    labels = torch.as_tensor(labels)
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (data.mean, data.std))
    statistics = Statistics(model)

    def hits(x: Tensor) -> dict[str, float]:
        """By rule, over the draws."""
        found = dict.fromkeys(NAMES, 0.0)
        for draw in range(DRAWS):
            order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw))
            few, judged = order[:FEW], order[FEW : FEW + JUDGED]
            before = Before(statistics.look(x[few]), [])
            for name in NAMES:
                statistics.run(x[few], RULES[name](before))
                with torch.inference_mode():
                    right = model(x[judged]).argmax(1) == labels[judged]
                found[name] += 100 * float(right.double().mean()) / DRAWS
        statistics.give_back()
        return found

    print("severity", *NAMES, sep=" | ")
    for severity in (0, 1, 3, 5):
        rows = []
        for name in (*STANDARD, *HELD_OUT) if severity else ("clean",):
            shown = corrupt(pixels, name, severity, seeds=range(len(pixels)), scale=32) if severity else pixels
            rows.append(hits((shown.float() / 255 - mean) / std))
        print(severity, *(f"{sum(row[n] for row in rows) / len(rows):.1f}" for n in NAMES), sep=" | ", flush=True)


if __name__ == "__main__":
    main()
