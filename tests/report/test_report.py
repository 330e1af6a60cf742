import io
import json
import re
from dataclasses import asdict, replace
from typing import Any

import pytest
from rich.console import Console

from renorm.evaluate import Row
from renorm.recipes.classify import Config
from renorm.report import page, plots, summary, tables


def row(bank: str, shift: str, severity: int, accuracy: float) -> Row:
    return Row(bank, shift, severity, accuracy, accuracy - 0.02, accuracy + 0.02, 0.5, 0.03, 200, 0)


ROWS = [
    row("weak", "clean", 0, 0.95),
    row("strong", "clean", 0, 0.93),
    row("clean@weak", "clean", 0, 0.94),
    row("weak", "contrast", 1, 0.60),
    row("strong", "contrast", 1, 0.80),
    row("clean@weak", "contrast", 1, 0.61),
    row("weak", "contrast", 2, 0.40),
    row("strong", "contrast", 2, 0.60),
    row("clean@weak", "contrast", 2, 0.41),
]
HISTORY = [
    {"epoch": e, "step": 5 * e, "rate": 0.1, "loss": 1 / e, "loss/weak": 1 / e, "accuracy/weak": 0.5, "test/weak": 0.6}
    for e in (1, 2, 3)
]
ABOUT = {"command": "renorm train --seed 3 <x>", "versions": {"torch": "2"}, "config": asdict(Config(seed=3))}


def test_points_average_corruptions_and_keep_clean_apart():
    weak, strong, _ = summary.points(ROWS)
    assert (weak.bank, weak.clean, round(weak.robust, 6)) == ("weak", 0.95, 0.5)
    assert (strong.clean, round(strong.robust, 6), round(strong.robust_half, 6)) == (0.93, 0.7, 0.02)


def test_the_finding_says_who_leads_where_and_by_how_much():
    text = summary.finding(ROWS)
    assert "On 200 clean images the bank weak is the most accurate: 95.0 % (± 2.0)." in text
    assert (
        "Under 2 corruptions strong leads with 70.0 % on average, 20.0 points above weak (more than the intervals)"
        in text
    )
    assert "at a cost of 2.0 points on clean images" in text
    assert "changes clean accuracy by −1.0 points for weak." in text


def test_one_bank_that_is_best_everywhere_is_said_to_be():
    better = [replace(r, accuracy=0.99) if r.bank == "strong" else r for r in ROWS]
    assert "It is also the most robust, with 99.0 %" in summary.finding(better)
    assert "It has 50.0 % on average" in summary.finding([r for r in ROWS if r.bank == "weak"])
    assert "no bank" in summary.finding([ROWS[0]])


def shown(renderable: object) -> str:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_the_table_averages_severities():
    text = shown(tables.results(ROWS))
    assert re.search(r"contrast 1-2\s+50.0 ±2.0\s+70.0 ±2.0\s+51.0 ±2.0", text)
    assert "200 images" in text


def test_a_missing_cell_is_a_dash():
    assert re.search(r"clean\s+95.0 ±2.0\s+-", shown(tables.results([ROWS[0], ROWS[4]])))


def test_distances_are_bars_in_the_models_order_and_the_farthest_are_kept():
    moved = {"bn1": 1.0, "layer1.bn": 0.25, "layer2.bn": 0.01, "layer3.bn": 0.5}
    lines = shown(tables.distances(moved, most=3, width=8)).splitlines()
    bars = {line.split()[0]: line.count(tables.BAR) for line in lines if tables.BAR in line}
    assert bars == {"bn1": 8, "layer1.bn": 2, "layer3.bn": 4}
    assert "1 nearer sites left out" in lines[-1]


def test_the_page_needs_nothing_else():
    text = page.page(ABOUT, ROWS, HISTORY)
    without = text.replace(page.get_plotlyjs(), "")
    assert len(text) - len(without) > 1_000_000
    assert page.get_plotlyjs() not in without
    assert not re.search(r"(src|href)=[\"']?(https?:)?//", without)
    assert without.count('class="plotly-graph-div"') == 3
    assert "renorm train --seed 3 &lt;x&gt;" in without
    assert summary.finding(ROWS) in without


def as_json(figure: Any) -> dict[str, Any]:
    return json.loads(figure.to_json())


def test_every_plot_names_its_axes():
    for figure in (plots.heat_map(ROWS), plots.trade_off(ROWS), plots.curves(HISTORY)):
        layout = as_json(figure)["layout"]
        axes = [axis for name, axis in layout.items() if re.fullmatch(r"[xy]axis\d*", name)]
        assert axes
        assert all(axis["title"]["text"] for axis in axes)


def test_a_cell_tells_its_interval_on_hover():
    (heat,) = as_json(plots.heat_map(ROWS))["data"]
    assert heat["z"][0] == [pytest.approx(95), pytest.approx(93), pytest.approx(94)]
    assert "95 % interval 93.0% to 97.0%" in heat["hovertext"][0][0]
    assert heat["y"] == ["clean", "contrast 1", "contrast 2"]
