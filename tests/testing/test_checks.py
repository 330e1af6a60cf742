"""Checks for users pass what is right, and name the laws that what is wrong breaks."""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import renorm
from renorm.testing import (
    CONVERSION_LAWS,
    RECIPE_LAWS,
    SITE_LAWS,
    Converting,
    Training,
    check_conversion,
    check_recipe,
    check_site,
)
from renorm.testing.running import run
from tests.recipes.game import Game
from tests.surgery.zoo import Doubling, images, small


def test_norms_of_users_pass():
    check_site(lambda: Doubling(4), (4, 3, 7))
    check_site(nn.BatchNorm3d(2), (2, 2, 3, 2), convert=partial(renorm.sandwich_, share=()))


class Drifting(nn.BatchNorm2d):
    """Moves its statistics in evaluation too."""

    def forward(self, input: Tensor) -> Tensor:
        self.get_buffer("running_mean").add_(0.1)
        return super().forward(input)


def test_a_norm_that_is_wrong_is_told_by_the_laws_it_breaks():
    with pytest.raises(AssertionError) as found:
        check_site(Drifting(4), (4, 3, 7))
    assert "evaluation_does_not_depend_on_batches: Samples evaluated together or apart" in str(found.value)
    broken = [line.partition(":")[0] for line in str(found.value).splitlines()[1:]]
    assert set(broken) < {law.__name__ for law in SITE_LAWS}
    check_site(Drifting(4), (4, 3, 7), expected=dict.fromkeys(broken, "it drifts"))
    with pytest.raises(AssertionError, match=r"1 of 14 laws:\ngradients_.* holds, and was expected not to: no reason"):
        check_site(nn.BatchNorm2d(4), (4, 3, 7), expected={"gradients_are_the_derivative": "no reason"})
    with pytest.raises(ValueError, match=r"no law is called 'gravity': one of conversion_keeps.* Correct the name"):
        check_site(nn.BatchNorm2d(4), (4, 3, 7), expected={"gravity": ""})


@pytest.mark.parametrize("convert", [renorm.split_, partial(renorm.sandwich_, share=())])
def test_a_model_passes(convert: Any):
    check_conversion(small().eval(), images(), convert=convert)


class Reading(nn.Module):
    """Whose output is another in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.calls = nn.BatchNorm2d(3), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.norm(x) * self.calls


def test_a_model_that_changes_from_call_to_call_does_not():
    with pytest.raises(AssertionError, match="conversion_keeps_outputs: Converted, a model gives by every branch"):
        check_conversion(Reading(), images())


def bent(law: Any) -> Any:
    """A conversion that breaks a law: what it makes is spoilt in one way that is easily written by mistake."""

    def convert(model: Any, branches: Any) -> Any:
        report = renorm.split_(model, branches)
        SPOILT[law.__name__](model, report)
        return report

    return convert


def undone_otherwise(model: Any, report: Any) -> None:
    report.undo = lambda: model.__setitem__(1, nn.BatchNorm2d(model[1].num_features))


def shifted(model: Any, report: Any) -> None:
    model[1].running_mean.add_(0.5)


def hidden(model: Any, report: Any) -> None:
    model[1].register_buffer("calls", torch.zeros(()), persistent=False)
    model[1].register_forward_hook(lambda site, _, y: y + site.calls.add_(1))


def forgetful(model: Any, report: Any) -> None:
    model[1].register_load_state_dict_post_hook(lambda site, _: site.reset_running_stats())


def kept_in_memory(model: Any, report: Any) -> None:
    def output(site: Any, _: Any, y: Tensor) -> Tensor:
        first, second = site.running_mean.view(2, -1)
        return y + (first - second).sum()

    model[1].register_forward_hook(output)


def both_move(model: Any, report: Any) -> None:
    def moved(site: Any, _: Any, y: Tensor) -> None:
        if site.training:
            site.running_mean.mul_(0.9)

    model[1].register_forward_hook(moved)


def otherwise_once_plain(model: Any, report: Any) -> None:
    model[1].register_forward_hook(lambda norm, _, y: y if hasattr(norm, "branches") else 2 * y)


SPOILT: dict[str, Any] = {
    "conversion_keeps_outputs": shifted,
    "undo_gives_the_model_back": undone_otherwise,
    "a_branch_folds_to_a_plain_model": otherwise_once_plain,
    "a_state_dict_brings_it_all": forgetful,
    "a_bank_goes_through_a_file": kept_in_memory,
    "measuring_and_adapting_leave_it_as_it_was": hidden,
    "training_one_branch_leaves_the_others": both_move,
}


@pytest.mark.parametrize("law", CONVERSION_LAWS, ids=lambda law: law.__name__)
def test_each_law_of_conversion_can_fail(law: Any):
    law(Converting(small().eval(), images()))
    with pytest.raises((AssertionError, ValueError)):  # the law's own, or what a verb says of it
        law(Converting(small().eval(), images(), bent(law)))


def test_a_recipe_passes():
    check_recipe(Game)


def test_a_recipe_that_forgets_what_it_counts_does_not():
    def careless() -> Any:
        recipe: Any = Game()
        step, calls = recipe.step, count()
        recipe.step = lambda batch: {**step(batch), "calls": next(calls)}
        return recipe

    with pytest.raises(AssertionError, match=r"a_stopped_run_goes_on_to_the_same_bits: Stopped after a step"):
        check_recipe(careless)


def moody() -> Any:
    recipe: Any = Game()
    recipe.validate = lambda: {"mood": float(torch.rand(()))}
    return recipe


def unrated() -> Any:
    recipe: Any = Game()
    recipe.rates = lambda step: {}
    return recipe


def silent() -> Any:
    recipe: Any = Game()
    recipe.describe = dict
    return recipe


@pytest.mark.parametrize(
    ("law", "recipe"),
    [("validating_changes_nothing", moody), ("each_optimizer_has_a_rate", unrated), ("it_says_what_it_is", silent)],
)
def test_each_law_of_recipes_can_fail(law: str, recipe: Any):
    (found,) = (each for each in RECIPE_LAWS if each.__name__ == law)
    found(Training(Game))
    with pytest.raises(AssertionError):
        found(Training(recipe))


def test_laws_are_run_on_and_counted():
    def first(subject: int) -> None:
        """Ones are ones."""
        assert subject == 1, "no one"

    def second(subject: int) -> None:
        """Numbers are finite."""

    run([first, second], 1)
    with pytest.raises(AssertionError) as found:
        run([first, second], 2)
    assert str(found.value) == "1 of 2 laws:\nfirst: Ones are ones. (AssertionError: no one)"
