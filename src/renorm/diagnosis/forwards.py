"""What some images tell of a model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from renorm.adapt import adapt_
from renorm.banks import branches_of, call, counted, following, unwrap
from renorm.diagnosis.finding import Finding
from renorm.diagnosis.stored import COMMAND, MEASURE
from renorm.layers import Site


def on_images(model: nn.Module, images: Any, reference: Any, branch: str | None) -> Iterator[Finding]:
    """Findings that a forward or three tell."""
    names = branches_of(model)
    branch = branch or (names[0] if names else None)
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        yield from _calls(model, images, branch)
        yield from _distance(model, images, reference, branch)
    finally:
        for module, training in modes.items():
            module.training = training


def _distance(model: nn.Module, images: Any, reference: Any, branch: str | None) -> Iterator[Finding]:
    with following(model, branch):
        plain = call(model, counted(images), None)
    if any(
        isinstance(y, Tensor) and y.is_floating_point() and not bool(y.isfinite().all()) for y in tree_leaves(plain)
    ):
        text = (
            "The model gives NaN or infinite numbers for these images, though its statistics and affines are numbers."
        )
        yield Finding(
            "error", "outputs that are no numbers", text, "look for NaN in its other weights, or in the images"
        )
        return
    report = adapt_(model, images, branch=branch, reference=reference, foreign="adapt")
    verdict, reason, unreached, moved = report.verdict, report.reason, report.unreached, report.output
    report.undo()
    if unreached:
        text = "An evaluation does not reach them, as a head that runs in training only: they keep what they have."
        yield Finding("note", "not reached", text, "nothing, where that is so by design", tuple(unreached))
    if verdict == "foreign":
        text = f"The images are prepared for another model: {reason}."
        yield Finding(
            "error", "foreign images", text, "prepare them as in training: renorm.data.load(FOLDER, model=model)"
        )
    elif verdict == "shifted":
        kept = _kept(plain, moved)
        yield Finding(
            "warning",
            "images are shifted",
            f"They are {reason}.{kept} Where the weights were changed since the statistics were made, measure: {MEASURE}.",
            "renorm.adapt_(model, images" + (f", branch={branch!r})" if branch else ")"),
            (),
            "renorm adapt MODEL --images FOLDER",
        )


def _kept(plain: Any, moved: Any) -> str:
    """How many predictions are the same with the statistics of the images, of a classifier."""
    if not all(isinstance(y, Tensor) and y.ndim == 2 and y.shape[1] > 1 for y in (plain, moved)):
        return ""
    same = int((plain.argmax(1) == moved.argmax(1)).sum())
    return f" Adapted to them, the model predicts another class for {len(plain) - same} of {len(plain)}."


def _calls(model: nn.Module, images: Any, branch: str | None) -> Iterator[Finding]:
    """What the order of calls tells: norms behind a dropout, norms that are called several times."""
    inner = unwrap(model)
    names = {module: name for name, module in inner.named_modules()}
    sites = {
        module for module in names if isinstance(module, Site) or getattr(module, "running_mean", None) is not None
    }
    dropped = {module for module in names if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0}
    order: list[nn.Module] = []
    with ExitStack() as stack, following(model, branch), torch.compiler.set_stance("force_eager"):
        for module in sites | dropped:
            stack.enter_context(module.register_forward_pre_hook(lambda m, _: order.append(m)))
        call(model, counted(images), None)
    times = Counter(module for module in order if module in sites)
    several = tuple(names[module] for module, number in times.items() if number > 1)
    if several:
        text = "They are called several times in a forward, so that their statistics are of all uses together."
        yield Finding("note", "used several times", text, "nothing, where that is so by design", several)
    first = next((i for i, module in enumerate(order) if module in dropped), len(order))
    behind = tuple(dict.fromkeys(names[module] for module in order[first:] if module in sites))
    if behind:
        text = "Dropout before them makes activations vary more in training than in evaluation, which their variances keep."
        yield Finding("note", "behind a dropout", text, f"{MEASURE}, which measures without dropout", behind, COMMAND)
