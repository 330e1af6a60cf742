"""A figure inside a page: texts are text, colours the page's, marks tell their values, and the bytes are always the same."""

import re
from xml.etree import ElementTree as ET

import pytest
from matplotlib.figure import Figure

from renorm.report.colors import LINES
from renorm.report.figures import distances
from renorm.report.section import Chart
from renorm.report.svg import svg, tell
from tests.report.test_figures import DRAWN


def of(figure: Figure, name: str = "x") -> str:
    return svg(Chart(name, figure, "what it shows"))


@pytest.mark.parametrize("name", DRAWN)
def test_a_drawing_is_small_plain_and_the_same_each_time(name: str):
    text = of(DRAWN[name]())
    assert text == of(DRAWN[name]())
    root = ET.fromstring(text)
    assert (root.tag, root.get("role"), root.get("aria-label")) == ("svg", "img", "what it shows")
    assert "xmlns" not in text
    assert not re.search("<(metadata|style)", text)
    assert "DejaVu" not in text
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:url\(|href=\")#([\w-]+)", text)) == set(ids)
    assert all(each.startswith("x-") for each in ids)


def test_texts_are_text_in_the_pages_colours():
    text = of(distances({"x": {"layer1.bn": 1.0, "layer2.bn": 2.0}}, "distance in sd"))
    assert ">layer1.bn</text>" in text
    assert ">distance in sd</text>" in text
    assert "var(--series-0)" in text
    assert "currentColor" in text
    assert not set(re.findall("#[0-9a-f]{6}", text)) & set(LINES)


def test_marks_tell_their_values():
    bars = of(distances({"x": {"layer1.bn": 1.0, "layer2.bn": 2.0}}, "y"))
    assert re.findall("<title>(.*?)</title>", bars) == ["layer1.bn: 1.000", "layer2.bn: 2.000"]
    lines = of(distances({"a<": {"p": 1.0, "q": 2.0}, "b": {"p": 3.0, "q": 4.0}}, "y"))
    assert re.findall("<title>(.*?)</title>", lines) == [
        "a&lt;, p: 1.000", "a&lt;, q: 2.000", "b, p: 3.000", "b, q: 4.000",
    ]  # fmt: skip
    assert lines.count("<use") >= 4


def test_titles_that_are_not_those_of_the_marks_are_noticed():
    figure = Figure()
    (line,) = figure.add_subplot().plot([1, 2, 3], [1, 2, 3], "o")
    tell(line, "one", "two")
    with pytest.raises(AssertionError, match="3 marks for 2 titles"):
        of(figure)
