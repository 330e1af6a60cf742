"""The page of a run: one file that needs nothing else to be read."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from renorm.evaluate import Row
from renorm.report import plots
from renorm.report.summary import best, finding, points

STYLE = """
body { font: 16px/1.6 system-ui, sans-serif; color: #1e293b; background: #f8fafc; margin: 0; }
main { max-width: 1040px; margin: 0 auto; padding: 40px 24px 80px; }
h1 { font-size: 30px; line-height: 1.2; margin: 0 0 4px; }
h2 { font-size: 20px; margin: 0 0 4px; }
p { margin: 0 0 12px; max-width: 75ch; }
section { background: white; border: 1px solid #e2e8f0; border-radius: 12px; padding: 24px; margin-top: 24px; }
.lead { color: #64748b; margin-bottom: 20px; }
.finding { font-size: 18px; border-left: 4px solid #2563eb; padding-left: 16px; }
.cards { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 20px; }
.card { flex: 1 1 150px; background: white; border: 1px solid #e2e8f0; border-radius: 12px; padding: 12px 16px; }
.card b { display: block; font-size: 24px; font-variant-numeric: tabular-nums; }
.card span, .note { color: #64748b; font-size: 14px; }
pre { background: #0f172a; color: #e2e8f0; border-radius: 8px; padding: 12px 16px; overflow-x: auto; font-size: 14px; }
table { border-collapse: collapse; font-size: 14px; }
td { padding: 3px 24px 3px 0; border-bottom: 1px solid #f1f5f9; vertical-align: top; }
td:first-child { color: #64748b; }
.columns { columns: 2; column-gap: 40px; }
"""

TEMPLATE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
<script>{plotly}</script>
</head>
<body>
<main>
<h1>{title}</h1>
<p class="lead">{lead}</p>
<p class="finding">{finding}</p>
<div class="cards">{cards}</div>
{sections}
</main>
</body>
</html>
"""

TABLE_NOTE = (
    "One row per shift of the test images, one column per bank used at evaluation; the weights are the same in every "
    "column. clean@x is x with its statistics measured again on un-augmented training images. Point at a cell for its "
    "95 % bootstrap interval, likelihood and calibration."
)
TRADE_NOTE = (
    "One point per bank: to the right is more accurate, up is more robust. Bars are 95 % intervals over images; those of "
    "the mean over corruptions are upper bounds."
)
CURVES_NOTE = "Training views are what each branch saw, averaged over an epoch; test images are clean."


def page(about: Mapping[str, Any], rows: Sequence[Row], history: Sequence[Mapping[str, Any]]) -> str:
    """The page as HTML.

    Args:
        about: The run's config.json.
        rows: The table bank x shift.
        history: The records of metrics.jsonl.
    """
    config = about.get("config", {})
    norm, branches = config.get("norm", ""), " and ".join(config.get("branches", []))
    lead = f"{config.get('epochs')} epochs with {norm} normalization on {branches} views, seed {config.get('seed')}"
    sections = [
        _section("Which bank for which shift", TABLE_NOTE, _plot(plots.heat_map(rows))),
        _section("Accuracy against robustness", TRADE_NOTE, _plot(plots.trade_off(rows))),
    ]
    if history:
        sections.append(_section("Training", CURVES_NOTE, _plot(plots.curves(history))))
    sections.append(_section("How to get this again", "", _command(about)))
    return TEMPLATE.format(
        title=html.escape(f"{config.get('model', 'model')} on {config.get('data', 'data')}"),
        style=STYLE,
        plotly=get_plotlyjs(),
        lead=html.escape(lead),
        finding=html.escape(finding(rows)),
        cards=_cards(rows),
        sections="\n".join(sections),
    )


def _cards(rows: Sequence[Row]) -> str:
    found = points(rows)
    cards = [("images evaluated", f"{min(row.images for row in rows):,}"), ("banks x shifts", f"{len(rows):,}")]
    if found:
        clean, robust = best(found)
        cards = [
            (f"best clean accuracy: {clean.bank}", f"{100 * clean.clean:.1f} %"),
            (f"best under corruptions: {robust.bank}", f"{100 * robust.robust:.1f} %"),
            *cards,
        ]
    return "".join(f'<div class="card"><b>{html.escape(b)}</b><span>{html.escape(a)}</span></div>' for a, b in cards)


def _section(title: str, note: str, body: str) -> str:
    return f'<section><h2>{title}</h2><p class="note">{html.escape(note)}</p>{body}</section>'


def _plot(figure: go.Figure) -> str:
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False, "responsive": True})


def _command(about: Mapping[str, Any]) -> str:
    versions = {f"{name} version": value for name, value in about.get("versions", {}).items()}
    values = {**about.get("config", {}), **versions}
    lines = [f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(_readable(v))}</td></tr>" for k, v in values.items()]
    return (
        f'<pre>{html.escape(about.get("command", ""))}</pre><div class="columns"><table>{"".join(lines)}</table></div>'
    )


def _readable(value: object) -> str:
    text = " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return "-" if value is None or not text else text
