"""Pictures of a run, as plotly figures."""

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from renorm.evaluate import Row
from renorm.report.summary import banks, points

COLORS = ("#2563eb", "#d97706", "#059669", "#7c3aed", "#db2777", "#475569", "#0891b2", "#65a30d")
PASTEL = ((0, "#fca5a5"), (0.5, "#fef3c7"), (1, "#86efac"))  # dark numbers are readable on all of it
LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 14, "color": "#1e293b"},
    "margin": {"l": 70, "r": 20, "t": 20, "b": 60},
    "hoverlabel": {"font_size": 14},
}


def heat_map(rows: Sequence[Row]) -> go.Figure:
    """The table: accuracy by colour and number; interval, likelihood and calibration on hover."""
    names = banks(rows)
    shifts = list(dict.fromkeys((row.shift, row.severity) for row in rows))
    cells = {(row.bank, row.shift, row.severity): row for row in rows}
    table = [[cells.get((name, *shift)) for name in names] for shift in shifts]
    figure = go.Figure(
        go.Heatmap(
            z=[[None if row is None else 100 * row.accuracy for row in line] for line in table],
            x=[name.replace("+", "<br>+ ") for name in names],
            y=[f"{shift.replace('_', ' ')} {severity or ''}".strip() for shift, severity in shifts],
            text=[["" if row is None else f"{100 * row.accuracy:.1f}" for row in line] for line in table],
            hovertext=[["" if row is None else _hover(row) for row in line] for line in table],
            texttemplate="%{text}",
            hoverinfo="text",
            textfont={"color": LAYOUT["font"]["color"]},
            colorscale=PASTEL,
            colorbar={"title": {"text": "accuracy in %", "side": "right"}, "outlinewidth": 0},
            xgap=2,
            ygap=2,
        )
    )
    figure.update_layout(**LAYOUT, height=110 + 26 * len(shifts), xaxis_title="bank used at evaluation")
    figure.update_layout(margin={"t": 90, "b": 10})
    figure.update_yaxes(autorange="reversed", title="shift and severity", automargin=True)
    figure.update_xaxes(side="top", tickangle=0)
    return figure


def _hover(row: Row) -> str:
    severity = f", severity {row.severity}" if row.severity else ""
    return (
        f"<b>{row.bank}</b> under <b>{row.shift.replace('_', ' ')}</b>{severity}<br>"
        f"accuracy {row.accuracy:.1%}, 95 % interval {row.low:.1%} to {row.high:.1%}<br>"
        f"NLL {row.nll:.3f} nats, ECE {row.ece:.1%}<br>{row.images:,} images, seed {row.seed}"
    )


def trade_off(rows: Sequence[Row]) -> go.Figure:
    """Clean accuracy against mean accuracy under corruptions, one point per bank with its intervals."""
    figure = go.Figure()
    for point, color in zip(points(rows), _colors(), strict=False):
        figure.add_scatter(
            x=[100 * point.clean],
            y=[100 * point.robust],
            error_x={"array": [100 * point.clean_half], "thickness": 1, "width": 3},
            error_y={"array": [100 * point.robust_half], "thickness": 1, "width": 3},
            mode="markers",
            marker={"size": 13, "color": color},
            name=point.bank,
            hovertemplate=f"<b>{point.bank}</b><br>clean %{{x:.1f}} %<br>corrupted %{{y:.1f}} %<extra></extra>",
        )
    figure.update_layout(**LAYOUT, height=430, legend={"title": "bank"})
    figure.update_xaxes(title="accuracy on clean images in %")
    figure.update_yaxes(title="mean accuracy under corruptions in %")
    return figure


def curves(history: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Loss and accuracy by epoch: training as lines, test as lines with points, one colour per branch."""
    figure = make_subplots(1, 2, horizontal_spacing=0.1)
    epochs = [record["epoch"] for record in history]
    names = list(dict.fromkeys(key.partition("/")[2] for key in history[0] if "/" in key))
    for name, color in zip(names, _colors(), strict=False):
        for key, column, test in (
            (f"loss/{name}", 1, False),
            (f"accuracy/{name}", 2, False),
            (f"test/{name}", 2, True),
        ):
            if key in history[0]:
                figure.add_trace(_curve(epochs, [r[key] for r in history], key, color, test), 1, column)
    figure.update_layout(**LAYOUT, height=380, hovermode="x unified")
    figure.update_xaxes(title="epoch", rangemode="tozero")
    figure.update_yaxes(title="cross-entropy in nats", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="accuracy in %", row=1, col=2)
    return figure


def _curve(epochs: Sequence[int], values: Sequence[float], key: str, color: str, test: bool) -> go.Scatter:
    kind, _, name = key.partition("/")
    scale = 1 if kind == "loss" else 100
    label = f"{name}, clean test images" if test else f"{name}, training views"
    return go.Scatter(
        x=epochs,
        y=[scale * value for value in values],
        name=label,
        legendgroup=label,
        showlegend=kind != "loss",
        mode="lines+markers" if test else "lines",
        line={"color": color, "dash": "solid" if test else "dot", "width": 2},
        hovertemplate="%{y:.3f}" if kind == "loss" else "%{y:.1f} %",
    )


def _colors() -> Sequence[str]:
    return [*COLORS] * 4
