"""The guide on a real network, on 600 photographs in place of a folder: what adapting says, and what labels say.

python experiments/verdict/fog.py --data DATA/imagenet/photos.parquet > experiments/verdict/fog.txt
"""

from __future__ import annotations

import argparse

import torch
from networks import photographs

import renorm
from renorm.corruptions import corrupt
from renorm.data import Images
from renorm.evaluate import prediction_change, reference_of
from renorm.models import Classifier, load_sample

SHIFTS = (("clean", 0), ("brightness", 1), ("fog", 3), ("gaussian_noise", 3))
ADAPTED, JUDGED, REFERENCE = 32, 150, 64


def main() -> None:
    """Adapt to 32 photographs under each shift, one draw, and judge on 200 others; the reference is of 64 more, clear ones."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = Classifier(load_sample(), mean=[0.5] * 3, std=[0.5] * 3, size=224)
    pixels, labels = photographs(given.data, 224)
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    few, judged, clear = order[:ADAPTED], order[ADAPTED : ADAPTED + JUDGED], order[-REFERENCE:]
    bytes_of_clear = (pixels[clear] * 255).round().to(torch.uint8)
    usual = reference_of(network, Images("clear", bytes_of_clear, labels[clear], []))
    print("beyond the reference:", ", ".join(f"{name} {far:.3f}" for name, far in usual.known.items()))

    def logits(x: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return torch.cat([network.model(part) for part in network.normalize(x).split(50)])

    print("shift | verdict and reason with the reference | source | weight, change without it | weight, change with it")
    for name, severity in SHIFTS:
        new, others = (corrupt(pixels[r], name, severity, r) if severity else pixels[r] for r in (few, judged))
        before = logits(others)
        told = []
        for reference in (None, usual):
            adaptation = renorm.adapt_(network.model, network.normalize(new), reference=reference)
            change = prediction_change(before, logits(others), labels[judged])
            assert change.gain is not None
            value, low, high = (100 * number for number in change.gain)
            told.append(f"{adaptation.source_weight:.2f}, {value:+.1f} [{low:+.1f}, {high:+.1f}]")
            adaptation.undo()
        hits = float((before.argmax(1) == labels[judged]).double().mean())
        print(
            f"{name} {severity} | {adaptation.verdict}: {adaptation.reason} | {hits:.1%} | {' | '.join(told)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
