"""The table bank x shift in colours, as HTML: a row per corruption, which opens into its severities."""

import html
from collections.abc import Callable
from itertools import groupby
from math import isfinite
from pathlib import Path

from renorm.metrics import Interval
from renorm.report.colors import ink_on, of_accuracy, of_change, span
from renorm.report.grid import MEAN, Grid, Line, halves
from renorm.report.summary import signed

Paint = Callable[[Interval], str]
Write = Callable[[Interval], tuple[str, str]]
"""The number and what stands below it."""

MANY = 4  # columns that take the whole width

STYLE = """
.scroll { overflow-x: auto; margin: 0 -24px; padding: 0 24px; }
.heat { border-collapse: separate; border-spacing: 2px; font-variant-numeric: tabular-nums; font-size: 14px; }
.heat.many { width: 100%; }
.heat th { font-weight: 500; text-align: left; padding: 4px 8px; white-space: nowrap; }
.heat thead th { text-align: center; vertical-align: bottom; white-space: normal; overflow-wrap: anywhere; }
.heat thead th:first-child, .heat tbody th { position: sticky; left: 0; background: white; z-index: 1; }
.heat td { text-align: center; min-width: 84px; padding: 3px 4px; border: 0; border-radius: 4px; line-height: 1.25; }
.heat td small { display: block; font-size: 11px; opacity: 0.75; white-space: nowrap; }
.heat td.best { font-weight: 700; }
.heat td.none { color: #94a3b8; }
.heat .family th { color: #64748b; font-size: 12px; text-transform: uppercase; letter-spacing: 0.06em; padding-top: 12px; }
.heat .mean th { font-weight: 700; }
.heat .part { display: none; font-size: 13px; }
.heat .open .part { display: table-row; }
.heat .part th { color: #64748b; padding-left: 28px; }
.heat button, .all { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; text-align: left; }
.heat button::before { content: "\\25B8"; display: inline-block; width: 1em; color: #94a3b8; text-indent: 0; }
.heat .open button::before { content: "\\25BE"; }
.heat .flat { padding-left: calc(8px + 1em); }
.all { color: #2563eb; font-size: 14px; margin-bottom: 8px; }
"""

SCRIPT = """
document.addEventListener("click", event => {
  const row = event.target.closest(".heat button"), all = event.target.closest(".all");
  if (row) row.closest("tbody").classList.toggle("open");
  if (all) {
    const bodies = all.nextElementSibling.querySelectorAll("tbody.shift");
    const open = ![...bodies].every(body => body.classList.contains("open"));
    bodies.forEach(body => body.classList.toggle("open", open));
  }
});
"""


def of_accuracies(grid: Grid) -> str:
    """Accuracies in %, the best of each row in bold."""
    ends = span(grid.numbers())

    def write(number: Interval) -> tuple[str, str]:
        half = halves(number)
        return f"{100 * number.value:.1f}", f"±{100 * half:.1f}" if isfinite(half) else "one run"

    return _table(grid, lambda number: of_accuracy(number, ends), write, best=len(grid.columns) > 1)


def of_changes(grid: Grid) -> str:
    """Differences in points with their intervals, pale where the interval holds 0."""
    numbers = grid.numbers()

    def write(number: Interval) -> tuple[str, str]:
        return signed(number.value), f"{signed(number.low)} to {signed(number.high)}"

    return _table(grid, lambda number: of_change(number, numbers), write, best=False)


def _table(grid: Grid, paint: Paint, write: Write, *, best: bool) -> str:
    heads = "".join(f'<th scope="col" title="{html.escape(name)}">{breakable(name)}</th>' for name in grid.columns)
    bodies = []
    for family, lines in groupby(grid.lines, key=lambda line: line.family):
        if family and family != MEAN:
            bodies.append(
                f'<tbody class="family"><tr><th scope="rowgroup">{html.escape(family)}</th>'
                f'<td colspan="{len(grid.columns)}"></td></tr></tbody>'
            )
        bodies += [_body(line, paint, write, best) for line in lines]
    button = (
        '<button class="all">Show or hide all severities</button>'
        if any(x.parts for x in grid.lines)
        else "<span></span>"
    )
    kind = "heat many" if len(grid.columns) > MANY else "heat"
    table = f'<table class="{kind}"><thead><tr><th></th>{heads}</tr></thead>{"".join(bodies)}</table>'
    return f'{button}<div class="scroll">{table}</div>'


def _body(line: Line, paint: Paint, write: Write, best: bool) -> str:
    kind = "mean" if line.family == MEAN else "shift"
    name = html.escape(line.name)
    head = (
        f'<th scope="row"><button>{name}</button></th>' if line.parts else f'<th scope="row" class="flat">{name}</th>'
    )
    rows = [f"<tr>{head}{_cells(line, paint, write, best)}</tr>"]
    for part in line.parts:
        cells = _cells(part, paint, write, best)
        rows.append(f'<tr class="part"><th scope="row">severity {html.escape(part.name)}</th>{cells}</tr>')
    return f'<tbody class="{kind if line.parts or kind == "mean" else "single"}">{"".join(rows)}</tbody>'


def _cells(line: Line, paint: Paint, write: Write, best: bool) -> str:
    top = max((round(cell.value, 3) for cell in line.cells if cell is not None), default=0)
    texts = []
    for cell in line.cells:
        if cell is None:
            texts.append('<td class="none">-</td>')
            continue
        background, (number, below) = paint(cell), write(cell)
        mark = ' class="best"' if best and round(cell.value, 3) == top else ""
        style = f"background:{background};color:{ink_on(background)}"
        title = f"{number}, 95 % interval {100 * cell.low:.1f} to {100 * cell.high:.1f}"
        texts.append(f'<td{mark} style="{style}" title="{title}">{number}<small>{below}</small></td>')
    return "".join(texts)


def breakable(name: str) -> str:
    """A bank's name in HTML, a file without its folder, that may break after its signs."""
    text = html.escape(short(name))
    for sign in "@+_-/":
        text = text.replace(sign, f"{sign}<wbr>")
    return text


def short(name: str) -> str:
    """A bank's name as pictures have room for it: of a file, perhaps after the run's name, without its folder.

    Example:
        >>> short("weak"), short("split: banks/camera.safetensors")
        ('weak', 'split: camera')
    """
    run, colon, bank = name.rpartition(": ")
    return f"{run}{colon}{Path(bank).stem}" if name.endswith(".safetensors") else name
