"""A page is one file: its texts are escaped, its parts shown, its numbers those of the run."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
import torch.nn.functional as F

from renorm.corruptions import CORRUPTIONS, SEVERITIES
from renorm.evaluate import Protocol
from renorm.recipes.classify import sections as classify
from renorm.report import summary
from renorm.report.page import page
from renorm.report.record import Record, sides
from renorm.report.section import Command, Facts, Folded, Gallery, Head, Section, Text, readable
from renorm.report.sections import run, several
from renorm.report.sections.examples import Strip
from renorm.report.versus import versus
from tests.report.made import ACCURACIES, bank, record

RUN = record("run")
EMPTY = {"meta", "wbr", "img"}


def page_of(run_: Record, more: tuple[Section, ...] = ()) -> str:
    shown = [section for each in classify.SECTIONS if (section := each(run_))]
    return page(classify.head(run_), [*shown, *more, run.provenance(run_)])


@pytest.fixture(scope="module")
def usual() -> str:
    return page_of(RUN)


class Elements(HTMLParser):
    """The elements of a page, and whether each is closed as it was opened; identifiers, and those that are referred to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.buttons: list[dict[str, str | None]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.references |= {found for value in values.values() for found in re.findall(r"#([\w-]+)\)?$", value or "")}
        if tag == "button":
            self.buttons.append(values)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_nothing_else(usual: str):
    text = usual
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", text)
    assert not re.search(r"@import|url\((?!#)", text)
    assert text.count("<svg") == 4
    assert summary.finding(RUN.results) in text


def test_elements_are_closed_and_identifiers_are_unique(usual: str):
    found = Elements(usual)
    assert len(found.ids) == len(set(found.ids))
    marks = {each for each in found.references if not re.fullmatch("[0-9a-f]{6}", each)}
    assert marks <= set(found.ids)
    assert all("aria-expanded" in each for each in found.buttons if each.get("class") != "copy")


def test_the_page_is_the_same_each_time(usual: str):
    assert page_of(RUN) == usual


def test_the_page_says_where_its_numbers_come_from(usual: str):
    text = usual
    assert text.count("renorm train --seed 3 --out &lt;run&gt;") == 1
    assert text.count("renorm evaluate runs/x --adapt 32") == 1
    assert text.count("Table of seed 5, 200 images of digits") >= 2
    assert "200 of digits, hash pixels" in text
    assert "of the &lt;model&gt;" in text
    assert "severities for 32 pixels, rounding 8-bit" in text
    unknown = replace(RUN, results=replace(RUN.results, protocol=Protocol()))
    assert "The table does not say how it was made." in page_of(unknown)


def test_words_are_explained(usual: str):
    for word in ("bank", "branch", "site", "shift"):
        assert f"<dt>{word}</dt><dd>" in usual


def test_sections_without_numbers_are_left_out():
    clean = {cell: a for cell, a in ACCURACIES.items() if cell[1] == "clean"}
    bare = replace(record("run", 3, clean), history=(), banks={})
    titles = re.findall(r"<h2>(.*?)</h2>", page_of(bare))
    assert titles == ["Which bank for which shift", "What the images look like", "How to get this again"]


def test_adapted_banks_are_shown_beside_what_they_were(usual: str):
    adapted = {("adapted@weak", *cell[1:]): a + 0.03 for cell, a in ACCURACIES.items() if cell[0] == "weak"}
    text = page_of(record("run", 3, {**ACCURACIES, **adapted}))
    assert "<h2>What adapting changes</h2>" in text
    assert ">+3.0<" in text
    assert "Adapting weak changes its accuracy by +3.0 (" in text
    assert "What adapting changes" not in usual


def test_examples_are_inside_the_page():
    pixels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    strips = [Strip("some <view>", "", (), pixels), Strip("contrast", "digital", ("1", "2"), pixels)]
    text = page(Head("x", "y"), [Section("Examples", "", [Gallery("views", [strip.picture() for strip in strips])])])
    assert text.count('src="data:image/jpeg;base64,') == 2
    assert "some &lt;view&gt;" in text
    assert "<span>1</span><span>2</span>" in text


def test_every_text_is_escaped():
    bad = "<script>alert(1)</script>"
    body = [Command(bad, bad), Facts([(bad, bad)], (bad, bad)), Text(bad), Folded(bad, [Facts.of({bad: bad})])]
    text = page(Head(bad, bad, [bad], [(bad, bad)]), [Section(bad, bad, body, bad)])
    assert "alert(1)" in text
    assert bad not in text.replace("<wbr>", "")


def test_several_runs_are_one_page():
    runs = [record(f"{arm}-{s}", s, hits=s, rate=r) for arm, r in (("a", 0.1), ("b<", 0.2)) for s in (0, 1)]
    found = versus(sides(runs))
    text = page(several.head(found), several.sections(found, "renorm report a b --out <page>"))
    titles = re.findall(r"<h2>(.*?)</h2>", text)
    assert titles == [
        "Differences", "Accuracies", "Accuracy against robustness", "Training", "How far apart the banks are",
        "What differs", "How to get this again",
    ]  # fmt: skip
    assert "paired by seed, with Student" in text
    assert "b&lt; (weak) against a (weak): " in text
    assert text.count("renorm report a b --out &lt;page&gt;") == 1
    assert text.count("renorm train --seed") == 4
    assert '<th scope="col">rate</th>' in text
    Elements(text)


def test_one_configuration_with_several_seeds_is_a_page_of_means():
    found = versus(sides([record("a-0", 0), record("a-1", 1)]))
    text = page(several.head(found), several.sections(found))
    assert "<h2>Differences</h2>" not in text
    assert "a: mean over 2 seeds with Student" in text


def test_distances_of_other_networks_are_not_drawn_together():
    other = replace(record("b", rate=0.2), banks={"weak": bank(0, ["x"]), "strong": bank(1, ["x"])})
    assert list(several.distances_of([record("a"), other])) == ["a: weak to strong"]
    assert several.distances_of([replace(other, banks={})]) == {}


@pytest.mark.parametrize(
    ("value", "text"), [(None, "-"), ((), "-"), (["a", "b"], "a b"), (0.5, "0.5"), (False, "False")]
)
def test_options_read_as_they_are_typed(value: object, text: str):
    assert readable(value) == text


def test_the_page_of_many_cells_is_small():
    """95 cells, 8 banks, a training of 200 epochs, and every corruption pictured."""
    banks = ("weak", "strong", "clean@weak", "clean@strong", "adapted@weak", "adapted@strong", "a:0.5+b:0.5", "c")
    cells = {(b, c, s): 0.9 - 0.1 * s - 0.01 * i for i, b in enumerate(banks) for c in CORRUPTIONS for s in SEVERITIES}
    clean = {(b, "clean", 0): 0.95 for b in banks}
    steps = [{"epoch": e, "loss/weak": 1 / e, "accuracy/weak": 0.5, "test/weak": 0.6} for e in range(1, 201)]
    sites = [f"layer{i}.bn" for i in range(60)]
    large = replace(record("run", 3, clean | cells), history=steps, banks={"a": bank(0, sites), "b": bank(2, sites)})
    coarse = torch.rand(5, 3, 24, 24, generator=torch.Generator().manual_seed(0))  # as hard for JPEG as photographs
    images = (255 * F.interpolate(coarse, 96, mode="bicubic").clamp(0, 1)).to(torch.uint8)
    strips = [Strip(name, "x", ("1", "2", "3", "4", "5"), images) for name in CORRUPTIONS]
    gallery = Section("Examples", "", [Gallery("x", [strip.picture() for strip in strips])])
    text = page_of(large, (gallery,))
    assert text.count('<tr class="part">') == 2 * len(CORRUPTIONS) * len(SEVERITIES)
    assert len(text.encode()) < 1_000_000, len(text.encode())
