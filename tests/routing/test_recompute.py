"""Which forward activation checkpointing runs again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from renorm.routing import Forwards, rerun
from renorm.routing.recompute import KEPT

Run = Callable[[Tensor], Tensor]


class Double(torch.autograd.Function):
    """A function of Python that saves its input, which its backward unpacks."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return 2 * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (_,) = ctx.saved_tensors
        return 2 * gradients[0]


class Reversible(torch.autograd.Function):
    """A checkpoint of somebody else, which is reentrant."""

    @staticmethod
    def forward(ctx: Any, run: Run, x: Tensor) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(x)
        return run(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor | None]:
        x = ctx.saved_tensors[0].detach().requires_grad_()
        with torch.enable_grad():
            ctx.run(x).backward(*gradients)
        return None, x.grad


class Followers:
    """Layers that follow what is said when they first run."""

    def __init__(self) -> None:
        self.forwards: Forwards[str] = Forwards()
        self.now, self.again = "", []

    def __call__(self, x: Tensor) -> Tensor:
        x = x * x
        if rerun():
            self.again.append(self.forwards.recall("layer 'x'"))
        else:
            self.forwards.remember(self.now)
        return x.relu() ** 3


def reentrant(run: Run, x: Tensor) -> Any:
    return checkpoint(run, x, use_reentrant=True)


def other(run: Run, x: Tensor) -> Any:
    return checkpoint(run, x, use_reentrant=False)


def doubled(run: Run, x: Tensor) -> Any:
    return other(lambda y: Double.apply(run(y)), x)


def nested(run: Run, x: Tensor) -> Any:
    return reentrant(lambda y: reentrant(run, reentrant(run, Double.apply(y * y))), x)


def foreign(run: Run, x: Tensor) -> Any:
    return Reversible.apply(run, x)


def forward(followers: Followers, said: str, through: Callable[[Run, Tensor], Any]) -> Tensor:
    followers.now = said
    return through(followers, torch.ones(3, requires_grad=True) * 1).sum()


@pytest.mark.parametrize("through", [other, reentrant])
@pytest.mark.parametrize("said", ["a", "ab", "aab", "aba", "abcab"])
def test_each_forward_is_repeated_as_it_was(through: Any, said: str) -> None:
    followers = Followers()
    losses = [forward(followers, each, through) for each in said]
    torch.stack(losses).sum().backward()
    assert followers.again == [*reversed(said)]


@pytest.mark.parametrize("through", [other, reentrant])
def test_backwards_in_any_order(through: Any) -> None:
    followers = Followers()
    losses = {each: forward(followers, each, through) for each in "abc"}
    losses["b"].backward()
    forward(followers, "", other)
    with torch.no_grad():
        forward(followers, "d", lambda run, x: run(x))
    losses["a"].backward()
    forward(followers, "e", through)
    losses["c"].backward()
    assert followers.again == ["b", "a", "c"]


def test_checkpoints_of_other_libraries_are_repeated_or_refused() -> None:
    """Their functions look like any that unpacks its tensors."""
    followers = Followers()
    forward(followers, "a", foreign).backward()
    assert followers.again == ["a"]
    loss = forward(followers, "b", doubled)
    with torch.no_grad():
        forward(followers, "c", lambda run, x: run(x))
    with pytest.raises(RuntimeError, match=r"layer 'x' is recomputed.*not certain which forward"):
        loss.backward()
    assert followers.again == ["a"]
    loss = forward(followers, "d", other) + forward(followers, "e", foreign)
    with pytest.raises(RuntimeError, match="not certain which forward"):
        loss.backward()
    assert followers.again == ["a"]


def test_a_graph_that_is_kept_may_be_passed_again() -> None:
    followers = Followers()
    loss = forward(followers, "a", other)
    loss.backward(retain_graph=True)
    forward(followers, "b", other).backward()
    loss.backward()
    assert followers.again == ["a", "b", "a"]


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
def test_nested_reentrant_checkpoints_are_repeated_as_they_were() -> None:
    followers = Followers()
    losses = {each: forward(followers, each, nested) for each in "abc"}
    losses["b"].backward()
    assert set(followers.again) == {"b"}
    losses["a"].backward()
    assert set(followers.again) == {"a", "b"}
    losses["c"].backward()
    assert followers.again[0] == "b"
    assert followers.again[-1] == "c"


@pytest.mark.parametrize("through", [other, reentrant, foreign])
def test_a_forward_before_all_that_are_remembered_is_refused(through: Any) -> None:
    followers = Followers()
    first = forward(followers, "first", through)
    for i in range(KEPT):
        forward(followers, str(i), through)
    with pytest.raises(RuntimeError, match=r"Call backward inside the `with` of each forward, before the next\."):
        first.backward()


def test_outside_a_backward_nothing_runs_again() -> None:
    assert not rerun()
    x = torch.ones(3, requires_grad=True)
    seen = []
    y = x * x
    y.register_hook(lambda gradient: seen.append(rerun()))
    y.sum().backward()
    assert seen == [True]


def test_where_another_thread_runs_backwards_two_of_them_must_agree() -> None:
    """On GPUs; there a rerun's nodes have numbers of their own."""
    followers = Followers()
    losses = [forward(followers, each, reentrant) for each in "aab"]
    followers.forwards._thread = -1
    losses[0].backward()
    losses[1].backward()
    with pytest.raises(RuntimeError, match="not certain which forward"):
        losses[2].backward()
    assert followers.again == ["a", "a"]
