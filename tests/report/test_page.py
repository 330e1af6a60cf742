import re
from dataclasses import replace

import pytest
import torch

from renorm.evaluate import Protocol
from renorm.report import comparison, page, summary
from renorm.report.examples import Strip
from renorm.report.records import sides
from renorm.report.versus import versus
from tests.report.made import ACCURACIES, bank, record

RUN = record("run")


def without_library(text: str) -> str:
    found = text.replace(page.get_plotlyjs(), "")
    assert len(text) - len(found) > 1_000_000
    assert page.get_plotlyjs() not in found
    return found


def test_the_page_needs_nothing_else():
    text = without_library(page.page(RUN))
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert not re.search(r"@import|url\(", text)
    assert text.count('class="plotly-graph-div"') == 4
    assert summary.finding(RUN.results) in text


def test_the_page_says_where_its_numbers_come_from():
    text = without_library(page.page(RUN))
    assert "renorm train --seed 3 --out &lt;run&gt;" in text
    assert text.count("<code>renorm evaluate runs/x --adapt 32</code>, seed 5, 200 images of digits") >= 2
    assert "200 of digits, hash pixels" in text
    assert "of the &lt;model&gt;" in text
    assert "severities for 32 pixels, rounding 8-bit" in text
    unknown = replace(RUN, results=replace(RUN.results, protocol=Protocol()))
    assert "The table does not say how it was made." in page.page(unknown)


def test_sections_without_numbers_are_left_out():
    clean = {cell: a for cell, a in ACCURACIES.items() if cell[1] == "clean"}
    bare = replace(record("run", 3, clean), history=(), banks={})
    titles = re.findall(r"<h2>(.*?)</h2>", page.page(bare, missing="gone"))
    assert titles == ["Which bank for which shift", "What the images look like", "How to get this again"]
    assert '<p class="note">gone</p>' in page.page(bare, missing="gone")


def test_examples_are_inside_the_page():
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    text = without_library(
        page.page(RUN, [Strip("some <view>", "", (), pixels), Strip("contrast", "digital", ("1", "2"), pixels)])
    )
    assert text.count('src="data:image/png;base64,') == 2
    assert "some &lt;view&gt;" in text
    assert "<span>1</span><span>2</span>" in text


def test_several_runs_are_one_page():
    runs = [record(f"{arm}-{s}", s, hits=s, rate=r) for arm, r in (("a", 0.1), ("b<", 0.2)) for s in (0, 1)]
    text = without_library(comparison.page(versus(sides(runs)), "renorm report a b --out <page>"))
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Differences", "Accuracies", "Accuracy against robustness", "Training", "How far apart the banks are",
        "What differs", "How to get this again",
    ]  # fmt: skip
    assert "paired by seed, with Student" in text
    assert "b&lt; (weak) against a (weak): " in text
    assert "renorm report a b --out &lt;page&gt;" in text
    assert text.count("renorm train --seed") == 4
    assert "<th>rate</th>" in text.replace("<wbr>", "")
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)


def test_one_configuration_with_several_seeds_is_a_page_of_means():
    text = comparison.page(versus(sides([record("a-0", 0), record("a-1", 1)])))
    assert "<h2>Differences</h2>" not in text
    assert "a: mean over 2 seeds with Student" in text


def test_distances_of_other_networks_are_not_drawn_together():
    other = replace(record("b", rate=0.2), banks={"weak": bank(0, ["x"]), "strong": bank(1, ["x"])})
    assert list(comparison.distances_of([record("a"), other])) == ["a: weak to strong"]
    assert comparison.distances_of([replace(other, banks={})]) == {}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ((), "-"), (["a", "b"], "a b"), (0.5, "0.5"), (False, "False")]
)
def test_options_read_as_they_are_typed(value: object, text: str):
    assert page.readable(value) == text
