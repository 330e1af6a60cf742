"""What is the matter with a model as a whole: modes, wrappers, weights that were changed after training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim.swa_utils import AveragedModel

from renorm.banks import unwrap
from renorm.diagnosis.finding import Finding
from renorm.diagnosis.stored import COMMAND, MEASURE
from renorm.layers import Site


def of_model(model: nn.Module) -> Iterator[Finding]:
    """Findings that need no image."""
    inner = unwrap(model)
    norms = {name: m for name, m in inner.named_modules() if isinstance(m, (Site, _BatchNorm))}
    yield from _modes(model, norms)
    yield from _shared(inner)
    yield from _averaged(model)
    yield from _changed(inner)
    untracked = tuple(name for name, m in norms.items() if isinstance(m, _BatchNorm) and m.running_mean is None)
    if untracked:
        text = "They normalize by the batch in evaluation too: an output depends on what else is in its batch."
        yield Finding(
            "warning", "no running statistics", text, "track_running_stats=True, and train or measure", untracked
        )


def _modes(model: nn.Module, norms: Mapping[str, nn.Module]) -> Iterator[Finding]:
    training = tuple(name for name, norm in norms.items() if norm.training)
    frozen = tuple(name for name, norm in norms.items() if not norm.training)
    if training and frozen:
        text = "The others are in training mode: these use their running statistics and do not move them."
        yield Finding(
            "note", "frozen in evaluation mode", text, "model.train(), if all should move; else as it is", frozen
        )
    elif training:
        text = "Outputs depend on what else is in a batch, and each forward moves the statistics."
        yield Finding("note", "in training mode", text, "model.eval() before predicting", ())


def _shared(model: nn.Module) -> Iterator[Finding]:
    names: defaultdict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (Site, _BatchNorm)):
            names[id(module)].append(name)
    for found in names.values():
        if len(found) > 1:
            text = "One norm stands at several places, so that its statistics are of both together."
            yield Finding(
                "warning",
                "one norm at several places",
                text,
                "give each place a norm, if it is no intention",
                tuple(found),
            )


def _averaged(model: nn.Module) -> Iterator[Finding]:
    for each in model.modules():
        if isinstance(each, AveragedModel) and int(each.n_averaged) > 0:
            whose = "averages of those" if each.use_buffers else "those"
            text = f"Weights are averages of {int(each.n_averaged)}; statistics are {whose} of single models."
            yield Finding(
                "warning",
                "unmeasured after averaging",
                f"{text} Unless they were measured since.",
                MEASURE,
                (),
                COMMAND,
            )


def _changed(model: nn.Module) -> Iterator[Finding]:
    pruned = tuple(name for name, m in model.named_modules() if "weight_mask" in m._buffers)
    if pruned:
        text = "Pruned weights give other features than the statistics are of, unless it was trained or measured since."
        yield Finding("warning", "unmeasured after pruning", text, MEASURE, pruned, COMMAND)
    faked = tuple(name for name, m in model.named_modules() if "FakeQuantize" in type(m).__name__)
    if faked:
        text = "Features are rounded from now on; statistics are of before, unless it was trained or measured since."
        yield Finding("note", "prepared for quantization", text, f"{MEASURE}, before it is converted", faked, COMMAND)
