from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from renorm.shifts import CorruptionSettings, Manifest
from renorm.shifts.manifest import read_manifest

SETTINGS = CorruptionSettings(
    "parquet", ("fog", "snow"), (1, 3), seed=4, scale=64, format="jpeg", quality=80, frost_dir=Path("a")
)
MANIFEST = Manifest(SETTINGS, "x", "1234", 7, 8, 9, ["a", "b"], "5678", {"torch": "2"}, "renorm corrupt x y")


def test_a_manifest_is_read_as_it_was_written(tmp_path: Path):
    assert read_manifest(tmp_path) is None
    MANIFEST.write(tmp_path)
    assert read_manifest(tmp_path) == MANIFEST
    assert list(MANIFEST.cells) == [("fog", 1), ("fog", 3), ("snow", 1), ("snow", 3)]


def test_what_makes_other_files_is_named():
    assert MANIFEST.unlike(MANIFEST) == []
    same = replace(MANIFEST, data="elsewhere", command="", settings=replace(SETTINGS, frost_dir=Path("b")))
    assert MANIFEST.unlike(same) == []
    other = replace(MANIFEST, fingerprint="9", settings=replace(SETTINGS, seed=5, quality=90), versions={"torch": "3"})
    assert MANIFEST.unlike(other) == ["seed", "quality", "fingerprint", "versions"]


def test_another_s_manifest_is_not_ours(tmp_path: Path):
    (tmp_path / "manifest.json").write_text('{"name": "an app"}')
    assert read_manifest(tmp_path) is None
    (tmp_path / "manifest.json").write_text("[1, 2]")
    assert read_manifest(tmp_path) is None


@pytest.mark.parametrize("damage", ["cut", "no settings", "version"])
def test_a_damaged_manifest_is_refused(damage: str, tmp_path: Path):
    MANIFEST.write(tmp_path)
    path = tmp_path / "manifest.json"
    values = json.loads(path.read_text())
    if damage == "no settings":
        del values["settings"]
    if damage == "version":
        values["kind"] = "renorm corrupted images, version 2"
    path.write_text(json.dumps(values)[: 100 if damage == "cut" else None])
    with pytest.raises(
        ValueError, match=r"manifest\.json cannot be understood \(.* is needed\. Write the folder again"
    ):
        read_manifest(tmp_path)
