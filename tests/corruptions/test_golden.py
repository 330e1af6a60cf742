"""All 95 cells as they were: a change of pixels that nobody meant shows here.

After a change that is meant: ``python -m tests.corruptions.test_golden`` writes the file again.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from renorm.corruptions import SEVERITIES, corrupt
from tests.corruptions.pictures import NAMES, every_name, pictures

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "corruptions.json"


def sums(name: str) -> list[list[float]]:
    """Mean, and mean against a ramp, of three images under each severity."""
    x = pictures(3, 32, 36)
    ramp = torch.linspace(-1, 1, x.numel(), dtype=torch.float64).view(x.shape)
    cells = [corrupt(x, name, severity, [0, 1, 2]).double() for severity in SEVERITIES]
    return [[cell.mean().item(), (cell * ramp.roll(17, -1)).mean().item()] for cell in cells]


@every_name
def test_pixels_are_what_they_were(name: str):
    # Another processor may round the last bit of a sum and so a level; a wrong draw or constant moves much more.
    tolerance = 1e-3 if name == "jpeg_compression" else 1e-4  # versions of libjpeg differ
    for found, expected in zip(sums(name), json.loads(GOLDEN.read_text())[name], strict=True):
        assert found == pytest.approx(expected, abs=tolerance, rel=0)


if __name__ == "__main__":
    GOLDEN.write_text(json.dumps({name: sums(name) for name in NAMES}, indent=1) + "\n")
