from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from renorm.corruptions import CORRUPTIONS, STANDARD
from renorm.data import Images
from renorm.shifts import CorruptionSettings, Manifest
from renorm.shifts.completed import expand
from tests.data.pictures import write_image


def images(side: int = 16, n: int = 2, label: int = 0, name: str = "a") -> Images:
    return Images("x", torch.zeros(n, 3, side, side, dtype=torch.uint8), torch.full((n,), label), [name])


@pytest.mark.parametrize(
    ("side", "options", "expected"),
    [
        (16, {}, ("cifar-c", 32, None, None)),
        (64, {}, ("cifar-c", 64, None, None)),
        (200, {}, ("imagenet-c", 224, "jpeg", 85)),
        (200, {"format": "png", "scale": 64}, ("imagenet-c", 64, "png", None)),
        (16, {"layout": "parquet"}, ("parquet", 32, "png", None)),
        (16, {"layout": "parquet", "format": "jpeg", "quality": 70}, ("parquet", 32, "jpeg", 70)),
    ],
)
def test_what_is_left_open_is_chosen(side: int, options: dict[str, Any], expected: tuple):
    chosen = Manifest.of(images(side), CorruptionSettings(corruptions=("contrast",), **options)).settings
    assert (chosen.layout, chosen.scale, chosen.format, chosen.quality) == expected


def test_groups_of_corruptions():
    assert expand(["contrast", "gaussian_blur", "contrast"]) == ("contrast", "gaussian_blur")
    assert expand(["held-out", "standard"]) == expand(["corruptions"]) == tuple(CORRUPTIONS)
    assert expand(["standard"]) == STANDARD


@pytest.mark.parametrize(
    ("data", "settings", "message"),
    [
        ({"n": 0}, {}, r"x has no images: at least one is needed\. Check"),
        ({}, {"corruptions": ("fg",)}, r"corruptions 'fg': standard, held-out, .*gaussian_noise.* are needed\. Choose"),
        ({}, {"corruptions": ()}, r"corruptions none: standard, .* are needed"),
        ({}, {"severities": (0, 1)}, r"severities \[0, 1\]: one or more of 1 .* to 5 .* are needed\. Change"),
        ({}, {"severities": ()}, r"severities \[\]: one or more"),
        (
            {},
            {"severities": (3,)},
            r"severities \[3\] in the layout cifar-c: .*stacked.* Leave .*, or choose --layout parquet",
        ),
        ({}, {"format": "png"}, r"--format png in the layout cifar-c: .* not encoded\. Leave --format out, or choose"),
        ({}, {"quality": 90}, r"--quality 90 without JPEG: only JPEG has a quality\. Add --format jpeg"),
        ({}, {"layout": "parquet", "quality": 90}, r"--quality 90 without JPEG"),
        ({"side": 100}, {"quality": 96}, r"--quality 96: 1 to 95 is needed\. .* --format png for exact pixels"),
        ({}, {"scale": 50}, r"no severity table for scale 50"),
        ({"side": 7}, {}, r"images of 7 x 7 pixels: at least 8 x 8 is needed"),
        ({"label": -1}, {}, r"2 of 2 images of x have no label: the layout cifar-c needs .* Choose --layout parquet"),
        ({"side": 100, "name": "../a"}, {}, r"class '\.\./a' of x is no name for a folder: .* Choose --layout parquet"),
        ({"side": 100, "name": ".."}, {}, r"class '\.\.' of x is no name for a folder"),
        (
            {},
            {"frost_dir": Path("x")},
            r"--frost-dir x without frost among the corruptions: .* Add frost to --corruptions",
        ),
        (
            {},
            {"corruptions": ("frost",), "frost_dir": Path("nowhere")},
            r"frost_dir='nowhere' is not a folder: .*needed",
        ),
    ],
)
def test_what_does_not_fit_is_refused(data: dict[str, Any], settings: dict[str, Any], message: str):
    options: dict[str, Any] = {"corruptions": ("contrast",)} | settings
    with pytest.raises(ValueError, match=message):
        Manifest.of(images(**data), CorruptionSettings(**options))


def test_own_pictures_of_frost_count_by_their_content(tmp_path: Path):
    hashes = []
    for name, grey in (("a", 200), ("b", 200), ("c", 100)):
        write_image(tmp_path / name / "1.png", 40, 40, (grey, grey, grey))
        settings = CorruptionSettings(corruptions=("frost",), frost_dir=tmp_path / name)
        hashes.append(Manifest.of(images(), settings).frost)
    assert hashes[0] == hashes[1] != hashes[2]
    assert Manifest.of(images(), CorruptionSettings(corruptions=("frost",))).frost == ""
