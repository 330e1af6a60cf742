"""What a page is made of: sections, and the parts that stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from renorm.report.heat import HeatTable


@dataclass(frozen=True)
class Chart:
    """A figure by matplotlib.

    Args:
        name: Of its file among the pictures for a paper; unique on a page.
        figure: What is drawn, in the style of :mod:`renorm.report.figures`.
        label: What it shows, for those who do not see it.
        heading: Above it.
    """

    kind: ClassVar = "chart"
    name: str
    figure: Figure
    label: str
    heading: str = ""


@dataclass(frozen=True)
class Heat:
    """A table of numbers on coloured ground; its name is that of its file among the pictures for a paper."""

    kind: ClassVar = "heat"
    name: str
    table: HeatTable


@dataclass(frozen=True)
class Facts:
    """Names with their values, or a table of words where it has a head."""

    kind: ClassVar = "facts"
    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()

    @classmethod
    def of(cls, values: Mapping[str, object]) -> Facts:
        """Options or the like, as people write them."""
        return cls([(name, readable(value)) for name, value in values.items()])


@dataclass(frozen=True)
class Picture:
    """Images in a row.

    Args:
        title: Above them.
        uri: All of them as one image inside an address.
        captions: Under each.
        small: Whether pixels are to be seen as they are.
    """

    title: str
    uri: str
    captions: Sequence[str] = ()
    small: bool = False


@dataclass(frozen=True)
class Gallery:
    """Rows of images under a heading."""

    kind: ClassVar = "gallery"
    heading: str
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Command:
    """What was typed, to be copied."""

    kind: ClassVar = "command"
    heading: str
    text: str


@dataclass(frozen=True)
class Text:
    """A remark."""

    kind: ClassVar = "text"
    text: str


@dataclass(frozen=True)
class Beside:
    """Charts side by side where there is room."""

    kind: ClassVar = "beside"
    parts: Sequence[Chart]


@dataclass(frozen=True)
class Folded:
    """What is shown when its title is opened."""

    kind: ClassVar = "folded"
    title: str
    parts: Sequence[Facts]


Part = Chart | Heat | Facts | Gallery | Command | Text | Beside | Folded


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        title: What it shows.
        note: How to read it.
        body: From top to bottom.
        source: Where its numbers come from.
    """

    title: str
    note: str
    body: Sequence[Part]
    source: str = ""


@dataclass(frozen=True)
class Head:
    """The beginning of a page.

    Args:
        title: Of the page.
        lead: What it is about, in a line.
        findings: What it says, a paragraph each.
        cards: A few numbers in large, each after what it is.
    """

    title: str
    lead: str
    findings: Sequence[str] = ()
    cards: Sequence[tuple[str, str]] = ()


def readable(value: object) -> str:
    """A value of an option as it is typed."""
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "-" if value is None or not text else text
