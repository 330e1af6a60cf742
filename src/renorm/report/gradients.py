"""The picture of what branches ask of the layers they share."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from renorm.metrics import LayerGradients
from renorm.report import plots
from renorm.report.page import pair, plot, section

TITLE = "What branches ask of the layers they share"
NOTE = (
    "Left: length of the gradient of each branch's loss for the weights of each layer. Right: cosine of the angle between the "
    "gradients of two branches; below 0, what helps one harms the other. Each is a mean over {steps} of training with the final "
    "weights, norms as in training."
)
LENGTH, COSINE = "length of the gradient", "cosine between branches"

Layers = Mapping[str, Sequence[LayerGradients]]
"""Of each run by its name; a single one has the name ""."""


def gradients(found: Layers, steps: int, command: str = "") -> str:
    """A section of a page, as HTML.

    Args:
        found: Gradients of each run.
        steps: How many batches they were measured on.
        command: That measured them.
    """
    figures = [plots.distances(lengths(found), LENGTH), plots.distances(cosines(found), COSINE)]
    for figure in figures:
        figure.update_xaxes(title_text="layer, from input to output")
    text = f"{steps} step{'s' * (steps > 1)}"
    return section(TITLE, NOTE.format(steps=text), pair([plot(figure) for figure in figures]), _caption(found, command))


def lengths(found: Layers) -> dict[str, dict[str, float]]:
    """Of each branch of each run, by layer."""
    return {
        _named(run, branch): {_short(layer.name): layer.norms[branch] for layer in layers}
        for run, layers in found.items()
        for branch in layers[0].norms
    }


def cosines(found: Layers) -> dict[str, dict[str, float]]:
    """Of each pair of branches of each run, by layer."""
    return {
        _named(run, " and ".join(both)): {_short(layer.name): layer.cosines[both] for layer in layers}
        for run, layers in found.items()
        for both in layers[0].cosines
    }


def _named(run: str, what: str) -> str:
    return f"{run}: {what}" if run else what


def _short(name: str) -> str:
    return name.removesuffix(".weight")


def _caption(found: Layers, command: str) -> str:
    runs = f"Runs: {html.escape(', '.join(found))}. " if len(found) > 1 else ""
    return f"{runs}<code>{html.escape(command)}</code>, each run with its own seed" if command else runs
