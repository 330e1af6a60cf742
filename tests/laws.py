"""The sites that laws are tried on, and for each law a naive site that must not pass it.

A naive version is a subject whose sites are made as usual and then spoilt in one way that is easily written by mistake.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

import renorm
from renorm.layers import BranchCopies, SandwichBatchNorm, SplitBatchNorm
from renorm.testing import SITE_LAWS, Subject, hashed
from renorm.testing.sites import BRANCHES
from tests.surgery.zoo import CHANNELS, Doubling

__all__ = ["hashed"]


def norm() -> nn.Module:
    return nn.BatchNorm2d(CHANNELS)


SUBJECTS: dict[str, Subject] = {
    "split": Subject(norm),
    "split, shared statistics": Subject(norm, partial(renorm.split_, share="statistics")),
    "split, shared affine": Subject(norm, partial(renorm.split_, share="affine")),
    "sandwich": Subject(norm, partial(renorm.sandwich_, share=())),
    "sandwich, shared statistics": Subject(norm, renorm.sandwich_),
    "copies": Subject(lambda: Doubling(CHANNELS)),
}
KINDS = {"split": SplitBatchNorm, "sandwich": SandwichBatchNorm, "copies": BranchCopies}


# --- naive sites -----------------------------------------------------------------------------------------------------

Naive = Callable[[Subject], Subject]


def spoilt(spoil: Callable[[Any], object]) -> Naive:
    return lambda subject: replace(subject, spoil=spoil)


def giving(output: Callable[[Any, Tensor, Tensor], Tensor]) -> Naive:
    """Sites that change their output, or themselves, after each call; a function of the site, its input and its output."""
    return spoilt(lambda site: site.register_forward_hook(lambda site, inputs, y: output(site, inputs[0], y)))


def by_the_first_branch(site: Any) -> None:
    """Whatever the route says."""
    forward = site.forward

    def first(x: Tensor) -> Tensor:
        with renorm.route(site, BRANCHES[0]):
            return forward(x)

    site.forward = first


def biased_variance(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """Stored as it was normalized by."""
    if site.training:
        for row in range(len(BRANCHES)):
            site.statistics(row).var.data.mul_(1 - 1 / x[:, 0].numel())
    return y


def always_moving(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """In evaluation too."""
    for row in range(len(BRANCHES)):
        site.statistics(row).mean.lerp_(x.mean((0, 2, 3)), 0.1)
    return y


def decaying(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """All branches, whoever is in the batch; and gradients for all."""
    for row in range(len(BRANCHES)):
        site.statistics(row).mean.data.mul_(0.9)
    return y + sum(parameter.sum() for parameter in site.parameters())


def evaluating_when_frozen(site: Any) -> None:
    """Takes frozen statistics for those to normalize by."""
    forward = site.forward

    def frozen(x: Tensor) -> Tensor:
        if not site.route.frozen:
            return forward(x)
        site.eval()
        y = forward(x)
        site.train()
        return y

    site.forward = frozen


def other_when_compiled(site: Any) -> None:
    """Takes another way where it is traced."""
    site.register_forward_pre_hook(lambda _, x: x[0].abs() if torch.compiler.is_compiling() else x)


def saves_ones(site: Any) -> None:
    """Instead of its values."""

    def ones(_: Any, state: dict[str, Any], prefix: str, __: Any) -> None:
        state.update(
            {
                key: torch.ones_like(value)
                for key, value in state.items()
                if key.startswith(prefix) and value.is_floating_point()
            }
        )

    site.register_state_dict_post_hook(ones)


def copied_as_itself(site: Any) -> None:
    """A deep copy of the model shares the site."""
    site.__deepcopy__ = lambda memo: site


def leaving_a_hook(site: Any, x: Tensor, y: Tensor) -> Tensor:
    """Each time it is called."""
    site.register_forward_pre_hook(lambda site, inputs: None)
    return y


def undone_by_copies(subject: Subject) -> Subject:
    """Undo gives back an equal module, not the same."""

    class Report:
        def __init__(self, model: Any, equal: nn.Module) -> None:
            self.model, self.equal = model, equal

        def undo(self) -> None:
            self.model[0] = self.equal

    def convert(model: Any, branches: Any) -> Report:
        equal = copy.deepcopy(model[0])
        subject.convert(model, branches)
        return Report(model, equal)

    return replace(subject, convert=convert)


NAIVE: dict[str, Naive] = {
    "conversion_keeps_evaluation": giving(lambda site, x, y: y * (1 + 1e-6)),
    "one_branch_reduces_to_the_plain_norm": giving(biased_variance),
    "a_sample_is_evaluated_by_its_branch": spoilt(by_the_first_branch),
    "evaluation_does_not_depend_on_batches": giving(always_moving),
    "all_forms_of_a_route_agree": giving(lambda site, x, y: y.roll(1, 0)),
    "absent_branches_stay": giving(decaying),
    "frozen_statistics_stay": spoilt(evaluating_when_frozen),
    "gradients_are_the_derivative": giving(lambda site, x, y: 2 * y - y.detach()),
    "half_in_half_out": giving(lambda site, x, y: y.float()),
    "compiled_equals_eager": spoilt(other_when_compiled),
    "a_state_dict_holds_it_all": spoilt(saves_ones),
    "copies_are_equal_and_apart": spoilt(copied_as_itself),
    "verbs_leave_a_model_as_it_was": giving(leaving_a_hook),
    "undo_gives_back_the_same_objects": undone_by_copies,
}
LAWS = {law: NAIVE[law.__name__] for law in SITE_LAWS}
