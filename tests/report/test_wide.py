"""Tables with many columns in narrow terminals."""

import re

import pytest
from rich.console import Console
from rich.text import Text

from renorm.report.wide import WideTable

BANKS = ["weak", "strong", "clean@weak", "clean@strong", "weak:0.5+strong:0.5", "adapted@weak", "adapted@strong"]


def shown(width: int, banks: list[str] = BANKS) -> str:
    console = Console(width=width)
    rows = [("gaussian noise 1-5", [Text(f"{80 + n}.5 ±0.8") for n in range(len(banks))])]
    with console.capture() as capture:
        console.print(WideTable("shift", banks, rows))
    return capture.get()


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_heading_and_no_number_is_cut_at_any_width(width: int):
    text = shown(width)
    assert "…" not in text
    assert re.findall(r"8\d\.5 ±0\.8", text) == [f"{80 + n}.5 ±0.8" for n in range(len(BANKS))]
    assert text.count("adapted@") == 2
    assert max(map(len, text.splitlines())) <= width
    assert text.count("gaussian noise") == {40: 7, 60: 3, 80: 2, 200: 1}[width]


def test_a_long_name_is_folded():
    path = "/a/long/way/to/a/folder/of/banks/weak.safetensors"
    assert path in "".join(shown(60, [path]).split()).replace("shift", "")
