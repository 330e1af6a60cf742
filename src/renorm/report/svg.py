"""A figure by matplotlib as SVG inside a page: its texts are text, its colours the page's, and its marks tell their values."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.artist import Artist

from renorm.report.colors import EDGE, FAINT, INK, LINE, LINES, PAPER
from renorm.report.section import Chart

RULES: Any = {"svg.fonttype": "none", "svg.hashsalt": "renorm"}  # one figure gives the same bytes wherever and whenever
SCALE = 1.85  # pixels of a point, at most
COLORS = {
    INK: "currentColor",
    PAPER: "var(--paper)",
    LINE: "var(--line)",
    EDGE: "var(--edge)",
    FAINT: "var(--faint)",
} | {color: f"var(--series-{number})" for number, color in enumerate(LINES)}
REFERENCE = re.compile(r"#([\w-]+)")
HREF = "{http://www.w3.org/1999/xlink}href"


def tell(artist: Artist, *titles: str) -> None:
    """Give an artist, or each mark of a line, what is shown when it is pointed at."""
    artist.set_gid(json.dumps(titles))


def svg(chart: Chart) -> str:
    """A chart as an element of a page."""
    buffer = io.StringIO()
    with mpl.rc_context(RULES):
        chart.figure.savefig(buffer, format="svg", facecolor="none")
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        parent.tag = parent.tag.rpartition("}")[2]
        if HREF in parent.attrib:
            parent.set("href", parent.attrib.pop(HREF))
    for unused in [
        *root.findall("metadata"),
        *root.findall("defs"),
    ]:  # but for clips, these are a style for stroke joins
        if unused.tag == "metadata" or unused.find("style") is not None:
            root.remove(unused)
    for element in list(root.iter()):
        _restyle(element)
        _title(element)
    _name(root, chart.name)
    width = root.attrib.pop("width").removesuffix("pt")
    del root.attrib["height"], root.attrib["version"]
    root.attrib |= {"role": "img", "aria-label": chart.label, "style": f"max-width:{SCALE * float(width):.0f}px"}
    return ET.tostring(root, encoding="unicode")


def _title(element: ET.Element) -> None:
    """Turn what was told of an artist into titles, one of the whole or one of each mark."""
    given = element.get("id", "")
    if not given.startswith("["):
        return
    del element.attrib["id"]
    titles = json.loads(given)
    marks = list(_marks(element)) if len(titles) > 1 else [element]
    assert len(marks) == len(titles), f"{len(marks)} marks for {len(titles)} titles"
    for mark, text in zip(marks, titles, strict=True):
        title = ET.Element("title")
        title.text = text
        mark.insert(0, title)


def _marks(element: ET.Element) -> Iterator[ET.Element]:
    return element.iter("use")


def _name(root: ET.Element, name: str) -> None:
    """Keep the identifiers that something refers to, under names that no other chart of a page has."""
    used = {found for e in root.iter() for value in e.attrib.values() for found in REFERENCE.findall(value)}
    for element in root.iter():
        given = element.attrib.pop("id", None)
        if given in used:
            element.set("id", f"{name}-{given}")
        for key, value in element.attrib.items():
            if key == "href" or value.startswith("url("):
                element.set(key, REFERENCE.sub(rf"#{name}-\1", value))


def _restyle(element: ET.Element) -> None:
    """Take the page's colours and font, and no more digits than are seen."""
    for key, value in element.attrib.items() - {("id", element.get("id"))}:
        text = re.sub(r"#[0-9a-f]{6}\b", lambda found: COLORS.get(found[0], found[0]), value)
        text = re.sub(r"font-family: [^;]*;? ?", "", text)
        element.set(key, re.sub(r"(\d\.\d\d)\d+", r"\1", text))
