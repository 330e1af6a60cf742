"""Which rows of a site belong to which sample: said by the user, and otherwise an error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from renorm.layers import SplitBatchNorm
from renorm.routing import Route

N, T = 6, 5
SPECS = {
    "interleaved": (("a", "b"), [0, 1] * 3),
    "turned": (("c", "a", "b"), [2, 0, 1] * 2),
    "blocks": (({"a": 2, "c": 0, "b": 4},), [0, 0, 1, 1, 1, 1]),
    "labels": ((torch.tensor([2, 0, 0, 1, 2, 2]),), [2, 0, 0, 1, 2, 2]),
    "whole": (("b",), [1] * 6),
    "label": ((torch.tensor(1),), [1] * 6),
}
Fold = Callable[[Tensor], Tensor]
FOLDS: dict[str, Fold] = {
    "sample": lambda video: video.flatten(0, 1),  # (N, T, ...), row b * T + t
    "time": lambda video: video.transpose(0, 1).flatten(0, 1),  # row t * N + b
    "copies": lambda video: torch.cat(video.unbind(1)),
}


class Clips(nn.Module):
    """A network of videos ``(N, T, C, H, W)`` whose norm sees frames."""

    def __init__(self, fold: Fold) -> None:
        super().__init__()
        self.fold, self.bn = fold, SplitBatchNorm(3, ["a", "b", "c"])
        self.bn.name = "bn"

    def encode(self, video: Tensor) -> Tensor:
        return self.bn(self.fold(video))

    def forward(self, batch: Any) -> Tensor:
        return self.encode(
            batch["video"] if isinstance(batch, dict) else batch[0] if isinstance(batch, list) else batch
        )


def video(n: int = N) -> Tensor:
    return torch.randn(n, T, 3, 2, 2, generator=torch.Generator().manual_seed(0)) + torch.arange(n).view(n, 1, 1, 1, 1)


def by_labels(x: Tensor, labels: Tensor) -> tuple[Tensor, SplitBatchNorm]:
    """What a norm does with rows whose branches are known."""
    norm = SplitBatchNorm(3, ["a", "b", "c"])
    return norm(x, labels), norm


@pytest.mark.parametrize("folded", FOLDS)
@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("training", [True, False])
def test_each_row_follows_its_sample(name: str, folded: str, training: bool) -> None:
    spec, samples = SPECS[name]
    model = Clips(FOLDS[folded]).train(training)
    with renorm.route(model, *spec, folded=folded):
        y = model(video())
    labels = torch.tensor(samples).view(N, 1).expand(N, T)
    want, norm = by_labels(FOLDS[folded](video()), FOLDS[folded](labels))
    if training:
        assert_close(y, want)
        assert_close(model.bn.running_mean, norm.running_mean)
        assert_close(model.bn.running_var, norm.running_var)


@pytest.mark.parametrize("name", ["turned", "blocks", "labels"])
def test_the_other_order_would_be_seen(name: str) -> None:
    """Meta: rows taken in the other order must not pass."""
    spec, samples = SPECS[name]
    model = Clips(FOLDS["sample"])
    with renorm.route(model, *spec, folded="time"):
        y = model(video())
    labels = torch.tensor(samples).view(N, 1).expand(N, T).flatten()
    with pytest.raises(AssertionError):
        assert_close(y, by_labels(video().flatten(0, 1), labels)[0])


@pytest.mark.parametrize("name", ["interleaved", "blocks", "labels"])
@pytest.mark.parametrize("training", [True, False])
def test_rows_that_are_no_samples_are_refused_without_a_word(name: str, training: bool) -> None:
    model = Clips(FOLDS["sample"]).train(training)
    message = (
        r"site 'bn' got 30 rows in a batch of 6 samples. Which 5 belong.*not guessed.*folded='sample'.*'time'.*'copies'"
    )
    with renorm.route(model, *SPECS[name][0]), pytest.raises(ValueError, match=message):
        model(video())


@pytest.mark.parametrize("name", ["whole", "label"])
def test_one_branch_needs_no_word(name: str) -> None:
    model = Clips(FOLDS["sample"])
    for call in (model, model.encode):
        with renorm.route(model, *SPECS[name][0]):
            y = call(video())
        assert_close(y, by_labels(video().flatten(0, 1), torch.tensor(1))[0])


def test_rows_that_differ_from_sample_to_sample_are_refused() -> None:
    model = Clips(lambda video: video.flatten(0, 1)[:29])
    for folded in (None, "sample"):
        message = r"site 'bn' got 29 rows in a batch of 6 samples, not as many for each.*sites="
        with renorm.route(model, "a", "b", folded=folded), pytest.raises(ValueError, match=message):
            model(video())


CALLS: dict[str, Callable[[Clips], Any]] = {
    "a dict": lambda model: model({"video": video()}),
    "a list": lambda model: model([video()]),
    "another method": lambda model: model.encode(video()),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("name", ["interleaved", "labels"])
def test_a_batch_of_unknown_size_is_refused_and_can_be_said(call: str, name: str) -> None:
    model = Clips(FOLDS["sample"])
    message = r"site 'bn' got 30 rows, and the size of the batch is not known.*Say how many: route\(\.\.\., size=N\)"
    with renorm.route(model, *SPECS[name][0], folded="sample"), pytest.raises(ValueError, match=message):
        CALLS[call](model)
    with renorm.route(model, *SPECS[name][0], folded="sample", size=N):
        y = CALLS[call](model)
    labels = torch.tensor(SPECS[name][1]).repeat_interleave(T)
    assert_close(y, by_labels(video().flatten(0, 1), labels)[0])


def test_blocks_say_the_size_of_the_batch_themselves() -> None:
    model = Clips(FOLDS["sample"])
    with renorm.route(model, {"a": 2, "b": 4}, folded="sample"):
        y = model.encode(video())
    assert_close(y, by_labels(video().flatten(0, 1), torch.tensor([0] * 10 + [1] * 20))[0])


def test_frames_that_are_the_samples() -> None:
    """A route of frames: their number is said, as the batch that the model is given has clips."""
    model, labels = Clips(FOLDS["sample"]), torch.arange(N * T) % 3
    with renorm.route(model, labels), pytest.raises(ValueError, match="divides 30 samples, of a batch of 6"):
        model(video())
    with renorm.route(model, labels, size=N * T):
        y = model(video())
    assert_close(y, by_labels(video().flatten(0, 1), labels)[0])


def test_the_batch_is_that_of_the_outermost_call() -> None:
    class Outer(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, clips: Tensor) -> Tensor:
            return self.inner(clips.flatten(0, 1))

    inner = nn.Sequential(nn.BatchNorm2d(3))
    renorm.split_(inner, ["a", "b"])
    model = Outer(inner)
    with renorm.route(model, {"a": 2, "b": 4}, folded="sample"):
        model(video())
    with renorm.route(model, "a", "b"), pytest.raises(ValueError, match="got 30 rows in a batch of 6 samples"):
        model(video())
    with renorm.route(inner, "a", "b"):
        inner(video().flatten(0, 1))
    with renorm.route(model, "a", "b", size=4):
        inner[:1](video()[:4, 0])  # a part of it


def test_a_forward_that_fails_leaves_no_batch_behind() -> None:
    model = Clips(FOLDS["sample"])
    with renorm.route(model, "a", "b", "c", folded="sample"):
        with pytest.raises(ValueError, match="cannot be interleaved over 3"):
            model(video(4))
        model(video())
    assert (model.bn.route.batch, model.bn.route.outermost) == (None, None)


def test_watching_ends_with_the_block() -> None:
    model = Clips(FOLDS["sample"])
    hooks = model._forward_pre_hooks, model._forward_hooks, model._forward_pre_hooks_with_kwargs
    with renorm.route(model, "a"), renorm.route(model, "b"):
        assert len(model._forward_pre_hooks) == 1
    assert not any(hooks)
    lasting = renorm.route_(model, train=["a", "b"], folded="sample")
    model(video())
    assert model.bn.num_batches_tracked.tolist() == [1, 1, 0]  # pyright: ignore[reportOptionalMemberAccess]
    lasting.undo()
    assert not any(hooks)


@pytest.mark.parametrize(
    ("spec", "options", "message"),
    [
        (("a",), {"folded": "frames"}, r"folded='frames' was given.*'sample'.*'time' or 'copies'"),
        (("a",), {"size": -1}, r"size=-1 was given.*integer >= 0"),
        (("a",), {"size": True}, r"size=True was given"),
        (({"a": 2, "b": 2},), {"size": 5}, r"size=5 was given to a route that divides 4 samples"),
        ((torch.tensor([0, 1, 1]),), {"size": 2}, r"size=2 was given to a route that divides 3 samples"),
    ],
)
def test_words_that_are_wrong(spec: Any, options: Any, message: str) -> None:
    model = Clips(FOLDS["sample"])
    with pytest.raises(ValueError, match=message), renorm.route(model, *spec, **options):
        raise AssertionError("the block must not run")


def test_a_size_of_the_user_goes_before_the_tensors() -> None:
    route = Route(["a", "b"])
    norm = SplitBatchNorm(3, ["a", "b"], route=route)
    with renorm.route(norm, "a", "b", size=2, folded="time"):
        norm(video()[:, 0])
    assert norm.num_batches_tracked.tolist() == [1, 1]  # pyright: ignore[reportOptionalMemberAccess]
