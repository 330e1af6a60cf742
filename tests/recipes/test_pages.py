"""A run's page is its recipe's: the kind that config.json names gives options, head and sections."""

from pathlib import Path

import pytest

from renorm.recipes import page_of_run, read_records
from renorm.report.page import page
from tests.report.made import record
from tests.report.test_record import written


def test_the_kind_gives_head_and_sections(tmp_path: Path):
    found, head, sections = page_of_run(written(tmp_path / "run"))
    assert head.title == "resnet20 on digits"
    assert [section.title for section in sections[:2]] == ["Which bank for which shift", "Accuracy against robustness"]
    assert sections[-1].title == "How to get this again"
    assert "ema" in found.config
    assert "<h2>Training</h2>" in page(head, sections)


def test_an_unknown_recipe_is_refused(tmp_path: Path):
    run = written(tmp_path / "run", {**record().about, "recipe": "bake"})
    with pytest.raises(
        ValueError, match=r"recipe 'bake': one of classify, generate, search, stylize is needed. Upgrade renorm"
    ):
        page_of_run(run)
    with pytest.raises(ValueError, match="recipe 'bake'"):
        read_records([run])
