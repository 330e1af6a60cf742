"""Figures of a page that can be pointed at, by plotly."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from math import isfinite
from typing import Any

import plotly.graph_objects as go

from renorm.metrics import Interval
from renorm.report.colors import FAINT, INK, LINES
from renorm.report.grid import curves_of, halves, mixture
from renorm.report.heat import short
from renorm.report.records import Side
from renorm.report.summary import Point, limits

LAYOUT: dict[str, Any] = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13, "color": INK},
    "margin": {"l": 56, "r": 8, "t": 8, "b": 8},
    "hoverlabel": {"font_size": 13},
    "xaxis": {"automargin": True, "title": {"font": {"size": 13}}},
    "yaxis": {"automargin": True, "title": {"font": {"size": 13}}},
    "legend": {"orientation": "h", "yanchor": "top", "y": -0.2, "x": 0, "title": ""},
}
MANY = 40  # sites whose names have room


@dataclass(frozen=True)
class Curve:
    """One line of a training: values by epoch, of training views dotted, of test images whole."""

    name: str
    color: str
    values: Mapping[int, float]
    test: bool


def trade_off(points: Mapping[str, Sequence[Point]], robust: str) -> go.Figure:
    """Clean accuracy against accuracy elsewhere: a point per bank with its intervals, a line through mixtures.

    Args:
        points: Of each run; a single one has the name "".
        robust: Title of the vertical axis.
    """
    figure, colors = go.Figure(), cycle(LINES)
    for run, found in points.items():
        by_bank, own = {point.bank: point for point in found}, next(colors)
        for line in curves_of(list(by_bank)):
            figure.add_scatter(
                x=[100 * by_bank[bank].clean.value for bank in line],
                y=[100 * by_bank[bank].robust.value for bank in line],
                mode="lines",
                line={"color": own if run else FAINT, "width": 1.5, "dash": "dot"},
                hoverinfo="skip",
                showlegend=False,
            )
        for point, each in zip(
            found, [own] * len(found) if run else [own, *_next(colors, len(found) - 1)], strict=True
        ):
            figure.add_trace(_point(point, run, each))
    figure.update_layout(**LAYOUT, height=480)
    every = [point for found in points.values() for point in found]
    figure.update_xaxes(title_text="accuracy on clean images in %", range=_range([point.clean for point in every]))
    figure.update_yaxes(title_text=robust, range=_range([point.robust for point in every]))
    return figure


def _range(numbers: Sequence[Interval]) -> list[float]:
    return [100 * end for end in limits(numbers)]


def _next(colors: cycle, number: int) -> list[str]:
    return [next(colors) for _ in range(number)]


def _point(point: Point, run: str, color: str) -> go.Scatter:
    name = f"{run}: {short(point.bank)}" if run else short(point.bank)
    mixed = bool(mixture(point.bank))
    x, y = point.clean, point.robust
    return go.Scatter(
        x=[100 * x.value],
        y=[100 * y.value],
        error_x={"array": [100 * halves(x)], "thickness": 1, "width": 3, "visible": isfinite(halves(x))},
        error_y={"array": [100 * halves(y)], "thickness": 1, "width": 3, "visible": isfinite(halves(y))},
        mode="markers",
        marker={"size": 8 if mixed else 12, "color": color, "symbol": "circle-open" if mixed else "circle"},
        name=name,
        hovertemplate=f"<b>{name}</b><br>clean %{{x:.1f}} %<br>elsewhere %{{y:.1f}} %<extra></extra>",
    )


def curves(title: str, found: Sequence[Curve]) -> go.Figure:
    """Lines by epoch."""
    figure = go.Figure()
    for curve in found:
        figure.add_scatter(
            x=list(curve.values),
            y=list(curve.values.values()),
            name=curve.name,
            mode="lines+markers" if curve.test else "lines",
            marker={"size": 5},
            line={"color": curve.color, "dash": "solid" if curve.test else "dot", "width": 2},
            hovertemplate="%{y:.3f}" if "nats" in title else "%{y:.1f} %",
        )
    figure.update_layout(**LAYOUT, height=400, hovermode="x unified", showlegend=True)
    figure.update_xaxes(title_text="epoch", rangemode="tozero")
    figure.update_yaxes(title_text=title, rangemode="tozero" if "nats" in title else "normal")
    return figure


LOSS, ACCURACY = "cross-entropy in nats", "accuracy in %"


def learned(sides: Sequence[Side]) -> dict[str, list[Curve]]:
    """Curves of trainings by the title of their axis: of one run each branch, of several only what each reached."""
    single, colors = len(sides) == 1, cycle(LINES)
    found: dict[str, list[Curve]] = {LOSS: [], ACCURACY: []}
    for side in sides:
        histories = [record.history for record in side.records if record.history]
        keys = dict.fromkeys(key for history in histories for key in history[-1] if "/" in key)
        names = dict.fromkeys(key.partition("/")[2] for key in keys)
        for name, color in ((name, next(colors)) for name in names):
            prefix = "" if single else f"{side.name}: "
            curve = {"loss": f"{prefix}{name}, training views", "accuracy": f"{prefix}{name}, training views"}
            curve |= {"test": f"{prefix}{name}, clean test images"}
            for kind, label in curve.items():
                values = _averaged(histories, f"{kind}/{name}", 1 if kind == "loss" else 100)
                if values and (single or kind != "accuracy"):
                    found[LOSS if kind == "loss" else ACCURACY].append(Curve(label, color, values, kind == "test"))
    return {title: lines for title, lines in found.items() if lines}


def _averaged(histories: Sequence[Sequence[Mapping[str, Any]]], key: str, factor: float) -> dict[int, float]:
    """Mean over runs of a number by epoch, as far as all of them went."""
    runs = [{record["epoch"]: record[key] for record in history if key in record} for history in histories]
    epochs = sorted(set.intersection(*map(set, runs))) if runs else []
    return {epoch: factor * sum(run[epoch] for run in runs) / len(runs) for epoch in epochs}


def distances(moved: Mapping[str, Mapping[str, float]], axis: str) -> go.Figure:
    """How far a bank is from another at each site, in the order of the model; one set of bars or several lines.

    Args:
        moved: Distances by site, of each line by its name.
        axis: Title of the vertical axis.
    """
    figure, most = go.Figure(), max(len(sites) for sites in moved.values())
    for (name, sites), color in zip(moved.items(), cycle(LINES), strict=False):
        options = {"x": list(sites), "y": list(sites.values()), "name": name}
        hover = "%{x}<br>%{y:.3f}<extra></extra>" if len(moved) == 1 else "%{x}<br>%{y:.3f}"
        if len(moved) == 1:
            figure.add_bar(**options, marker={"color": color, "cornerradius": 3}, hovertemplate=hover)
        else:
            line, marker = {"color": color, "width": 2}, {"size": 5}
            figure.add_scatter(**options, mode="lines+markers", line=line, marker=marker, hovertemplate=hover)
    figure.update_layout(**LAYOUT, height=380, bargap=0.4, showlegend=len(moved) > 1)
    if len(moved) > 1:
        figure.update_layout(legend={"y": 1.02, "yanchor": "bottom"})
    ticks: dict[str, Any] = {} if most > MANY else {"dtick": 1}
    figure.update_xaxes(title_text="site, from input to output", tickangle=-90, tickfont={"size": 11}, **ticks)
    figure.update_yaxes(title_text=axis, rangemode="tozero")
    return figure
