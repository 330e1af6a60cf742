"""How far corrupted photographs are from those of imagecorruptions 1.1.2, at 224 pixels and all five severities.

python experiments/corruption_differences.py OUT.csv [NUM_IMAGES [CORRUPTION...]]
pip install imagecorruptions 'setuptools<82' in the same environment; RENORM_DATA names the folder of data

Levels of 8 bits, before either side cuts to whole levels. Where nothing is random `difference` is the mean absolute
difference of pixels; elsewhere the two sides are compared by what they do to the photographs: the mean of the change, its
standard deviation, and its mean size.
"""

import csv
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import renorm
from renorm.corruptions import CORRUPTIONS, SEVERITIES, corrupt

sys.path.append(str(Path(__file__).resolve().parents[1] / "benchmarks"))
import corruptions as benchmark

DETERMINISTIC = (
    *("defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"),
    *("gaussian_blur", "saturate"),
)
FIELDS = (
    *("corruption", "severity", "difference", "mean", "mean_reference", "deviation", "deviation_reference"),
    *("size", "size_reference"),
)


def changes(x: np.ndarray, ours: np.ndarray, theirs: np.ndarray, compare: bool) -> list[str]:
    """What a row says after the severity."""
    pairs = [
        f"{measure(side - x):.3f}"
        for measure in (np.mean, np.std, lambda change: np.abs(change).mean())
        for side in (ours, theirs)
    ]
    return [f"{np.abs(ours - theirs).mean():.4f}" if compare else "", *pairs]


def rows(
    x: torch.Tensor, names: Iterable[str], reference: Callable[[str], Callable[..., np.ndarray]]
) -> list[list[str]]:
    """One row for each cell."""
    arrays = x.permute(0, 2, 3, 1).numpy()
    found = []
    for name in names:
        for severity in SEVERITIES:
            ours = corrupt(x / 255, name, severity, range(len(x)), scale=224).permute(0, 2, 3, 1).numpy() * 255
            np.random.seed(severity)
            theirs = np.stack(
                [np.asarray(reference(name)(Image.fromarray(image), severity), float) for image in arrays]
            )
            found.append([name, str(severity), *changes(arrays.astype(float), ours, theirs, name in DETERMINISTIC)])
            print(*found[-1], flush=True)
    return found


def main() -> None:
    """Measure and write."""
    if benchmark.mended() is None:
        raise SystemExit("imagecorruptions is needed: pip install imagecorruptions 'setuptools<82'")
    import imagecorruptions.corruptions as module

    torch.set_num_threads(1)
    out, num = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 8
    photos = Path(os.environ.get("RENORM_DATA", benchmark.DATA)) / "photos" / "photos.parquet"
    x = renorm.data.load(str(photos)).batch(range(num))[0]
    with open(out, "w", newline="") as file:
        csv.writer(file).writerows([FIELDS, *rows(x, sys.argv[3:] or CORRUPTIONS, lambda name: getattr(module, name))])


if __name__ == "__main__":
    main()
