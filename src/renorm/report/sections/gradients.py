"""The picture of what branches ask of the layers they share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from renorm.metrics import LayerGradients
from renorm.report import figures
from renorm.report.section import Beside, Chart, Section

TITLE = "What branches ask of the layers they share"
NOTE = (
    "Left: length of the gradient of each branch's loss for the weights of each layer. Right: cosine of the angle between the "
    "gradients of two branches; below 0, what helps one harms the other. Each is a mean over {steps} of training with the final "
    "weights, norms as in training."
)
LENGTH, COSINE = "length of the gradient", "cosine between branches"
PLACES = "layer, from input to output"

Layers = Mapping[str, Sequence[LayerGradients]]
"""Of each run by its name; a single one has the name ""."""


def gradients(found: Layers, steps: int) -> Section:
    """A section of a page.

    Args:
        found: Gradients of each run.
        steps: How many batches they were measured on.
    """
    long, apart = figures.by_place(lengths(found), LENGTH, PLACES), figures.by_place(cosines(found), COSINE, PLACES)
    long.axes[0].set_ylim(bottom=0)
    charts = [
        Chart("gradients-length", long, f"{LENGTH} of each branch in each layer"),
        Chart("gradients-cosine", apart, f"{COSINE} in each layer"),
    ]
    runs = f"Runs: {', '.join(found)}, each with its own seed." if len(found) > 1 else ""
    return Section(TITLE, NOTE.format(steps=f"{steps} step{'s' * (steps > 1)}"), [Beside(charts)], runs)


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
