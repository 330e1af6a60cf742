"""What is the matter with a model's normalization, found by looking; nothing is changed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import torch
from torch import nn

from renorm.banks import branches_of, tracked, unwrap
from renorm.diagnosis.environment import environment
from renorm.diagnosis.finding import Diagnosis, Finding
from renorm.diagnosis.forwards import on_images
from renorm.diagnosis.model import of_model
from renorm.diagnosis.stored import of_statistics
from renorm.diagnosis.verbs import refuses, verbs
from renorm.layers import Site

__all__ = ["Diagnosis", "Finding", "diagnose"]


@torch.no_grad()
def diagnose(model: nn.Module, images: Any = None, *, reference: Any = None, branch: str | None = None) -> Diagnosis:
    """Look at a model's norms: of which kinds they are, what each verb would do, what is wrong with them, and the remedy.

    The model is left as it was, bit for bit.

    Args:
        images: a batch of unlabelled images, prepared as the model takes them; with them it is also found which norms an
            evaluation does not reach, how far the images are from what the model stores, and what depends on the batch.
        reference: images of the normal condition, as :func:`renorm.adapt_` takes them.
        branch: whose statistics the images are compared with, where there are several.

    Raises:
        ValueError: a reference without images; a branch that there is not.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4)).eval()
        >>> diagnose(model).findings[0].what
        'never updated'
    """
    if reference is not None and images is None:
        raise ValueError(
            "a reference was given without images: it says what is usual of images. Pass images, or leave it out."
        )
    findings = list(of_model(model))
    observable = not refuses(model)
    if observable:
        for each in branches_of(model) or (None,):
            findings += of_statistics(tracked(model, each), each)
    broken = any(each.gravity == "error" for each in findings)  # of which images could only say it again
    if images is not None and (broken or not observable):
        why = "what is broken comes first" if broken else "no norm of this model can be observed"
        findings.append(Finding("note", "images not looked at", f"They say nothing here: {why}.", "see the rest"))
    elif images is not None:
        findings += on_images(model, images, reference, branch)
    return Diagnosis(kinds(model), branches_of(model), verbs(model), tuple(findings), environment(model))


def kinds(model: nn.Module) -> dict[str, int]:
    """How many norms there are of each class, without what is inside one."""
    found: Counter[str] = Counter()
    inside: set[int] = set()
    for module in unwrap(model).modules():
        if _normalizes(module) and id(module) not in inside:
            found[type(module).__name__] += 1
            inside |= {id(m) for m in module.modules()}
    return dict(found)


def _normalizes(module: nn.Module) -> bool:
    """Not a block that is named after a norm in it, as timm's ConvNormAct, nor a network without any, as NormFreeNet."""
    if isinstance(module, Site) or hasattr(module, "running_mean"):
        return True
    within = list(module.modules())[1:]
    weights = any(isinstance(m, (nn.Linear, nn.modules.conv._ConvNd)) or "Norm" in type(m).__name__ for m in within)
    return "Norm" in type(module).__name__ and not weights
