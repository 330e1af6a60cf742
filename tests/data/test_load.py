from __future__ import annotations

from pathlib import Path

import pytest

from renorm.data import load


def test_a_path_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(
        FileNotFoundError,
        match=r"nothing at .*digit\. 'digits', 'cifar10', 'cifar100', a folder of images.*Check the path",
    ):
        load(tmp_path / "digit")


def test_a_file_of_another_kind_is_named(tmp_path: Path):
    (tmp_path / "x.csv").write_text("a,b")
    with pytest.raises(ValueError, match=r"x\.csv is neither a folder nor a \.parquet file\. Give the folder"):
        load(tmp_path / "x.csv")
