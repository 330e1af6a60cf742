"""Distances as bars."""

import pytest

from renorm.report import bars
from tests.report.test_terminal import shown


def test_distances_are_bars_in_the_models_order_and_the_farthest_are_kept():
    moved = {"bn1": 1.0, "layer1.bn": 0.25, "layer2.bn": 0.01, "layer3.bn": 0.5}
    lines = shown(bars.distances(moved, most=3, width=8)).splitlines()
    lengths = {line.split()[0]: line.count(bars.BAR) for line in lines if bars.BAR in line}
    assert lengths == {"bn1": 8, "layer1.bn": 2, "layer3.bn": 4}
    assert "1 nearer sites left out, their median is 0.010" in " ".join(" ".join(lines).split())
    (overall,) = [line for line in lines if "all 4 sites" in line]
    assert float(overall.split()[-1]) == pytest.approx(((1 + 0.25**2 + 0.01**2 + 0.5**2) / 4) ** 0.5, abs=1e-3)


def test_distances_stand_beside_what_chance_gives():
    lines = shown(bars.distances({"bn1": 1.0, "bn2": 0.5}, {"bn1": 0.25, "bn2": 0.6})).splitlines()
    assert next(line for line in lines if "bn1" in line).split()[-2:] == ["1.000", "0.250"]
    (overall,) = [line for line in lines if "all 2 sites" in line]
    assert float(overall.split()[-1]) == pytest.approx(((0.25**2 + 0.6**2) / 2) ** 0.5, abs=1e-3)
    single = shown(bars.distances({"bn1": 0.0}, {"bn1": float("inf")}))
    assert single.count("unknown") == 2
