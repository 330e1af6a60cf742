"""Laws of a whole model under conversion: nothing is lost on the way to branches, between them, and back."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.testing import assert_close
from torch.utils._pytree import tree_map

from renorm.adapt import adapt_
from renorm.banks import Bank, install_, measure, site_tensors
from renorm.routing import route
from renorm.surgery import fold, split_
from renorm.testing.hashing import hashed
from renorm.testing.sites import BRANCHES, exactly


@dataclass(frozen=True)
class Converting:
    """A model, images for it, and how it is converted.

    Args:
        plain: the model before; laws take copies.
        images: a batch of two or more.
        convert: as :func:`renorm.split_`.
    """

    plain: nn.Module
    images: Any
    convert: Callable[..., Any] = split_

    def before(self) -> Any:
        """A copy of the model."""
        return copy.deepcopy(self.plain).eval()

    def after(self) -> Any:
        """A copy of the model, converted."""
        model = self.before()
        self.convert(model, BRANCHES)
        return model

    def apart(self) -> Any:
        """The same, with statistics that differ between branches."""
        model = self.after()
        with torch.no_grad():
            for number, name in enumerate(BRANCHES, 1):
                for site in site_tensors(model, name).values():
                    site.mean.add_(0.1 * number * site.var.sqrt())
        return model


def outputs(model: nn.Module, images: Any, *spec: Any) -> Any:
    """What a model gives in evaluation, under a route if one is said, detached and copied."""
    with torch.no_grad():
        if not spec:
            return _copied(model(images))
        with route(model, *spec):
            return _copied(model(images))


def _copied(found: Any) -> Any:
    return tree_map(lambda y: y.detach().clone() if isinstance(y, Tensor) else y, found)


def conversion_keeps_outputs(subject: Converting) -> None:
    """Converted, a model gives by every branch the bits it gave before."""
    want, model = outputs(subject.before(), subject.images), subject.after()
    for branch in BRANCHES:
        exactly(outputs(model, subject.images, branch), want)


def undo_gives_the_model_back(subject: Converting) -> None:
    """Converted and undone, a model is what it was, down to its tensors."""
    model = subject.before()
    before = hashed(model)
    subject.convert(model, BRANCHES).undo()
    assert hashed(model) == before


def a_branch_folds_to_a_plain_model(subject: Converting) -> None:
    """Folded, a branch has the plain model's keys and gives what it gave."""
    model = subject.apart()
    for branch in BRANCHES:
        plain = fold(model, branch)
        assert list(plain.state_dict()) == list(subject.plain.state_dict())
        assert_close(outputs(plain, subject.images), outputs(model, subject.images, branch))


def a_state_dict_brings_it_all(subject: Converting) -> None:
    """Its state, loaded into a model converted alike, gives the same bits."""
    model, other = subject.apart(), subject.after()
    other.load_state_dict(model.state_dict())
    for branch in BRANCHES:
        exactly(outputs(other, subject.images, branch), outputs(model, subject.images, branch))


def a_bank_goes_through_a_file(subject: Converting) -> None:
    """A branch's bank, saved, loaded and installed in another, makes the other give what this one gave."""
    model = subject.apart()
    first, second = BRANCHES
    want = outputs(model, subject.images, first)
    with tempfile.TemporaryDirectory() as folder:
        bank = Bank.load(Bank.of(model, first, affine=True).save(Path(folder) / "bank"))
    install_(model, bank, branch=second)
    exactly(outputs(model, subject.images, second), want)


def measuring_and_adapting_leave_it_as_it_was(subject: Converting) -> None:
    """Measuring changes nothing, and adapting nothing once it is undone."""
    model = subject.apart()
    before = hashed(model)
    measure(model, [subject.images], BRANCHES[0])
    adapt_(model, subject.images, branch=BRANCHES[0], foreign="adapt").undo()
    assert hashed(model) == before


def training_one_branch_leaves_the_others(subject: Converting) -> None:
    """A step on samples of one branch moves its statistics, and of the others' nothing."""
    model = subject.apart()
    own, other = (site_tensors(model, branch) for branch in BRANCHES)
    shared = {name for name in own if own[name].mean.data_ptr() == other[name].mean.data_ptr()}
    before = {name: site.mean.clone() for name, site in other.items()}
    with route(model.train(), BRANCHES[0]):
        model(subject.images)
    for name, mean in before.items():
        if name not in shared:
            exactly(other[name].mean, mean)


LAWS: tuple[Callable[[Converting], None], ...] = (
    conversion_keeps_outputs,
    undo_gives_the_model_back,
    a_branch_folds_to_a_plain_model,
    a_state_dict_brings_it_all,
    a_bank_goes_through_a_file,
    measuring_and_adapting_leave_it_as_it_was,
    training_one_branch_leaves_the_others,
)
