"""The ways adapting goes wrong elsewhere, for every method."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import renorm
from tests.banks.models import Unknown, small, unchanged


def images(size: int = 4) -> Tensor:
    return torch.randn((size, 3, 4, 4), generator=torch.Generator().manual_seed(4)) + 1


@contextmanager
def adapted(model: nn.Module, **options: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    reports = []

    def call(x: Tensor) -> Tensor:
        reports.append(renorm.adapt_(model, x, **options))
        return reports[-1].output

    try:
        yield call
    finally:
        for report in reversed(reports):
            report.undo()


@contextmanager
def predicted(model: nn.Module, *prior: float, **options: Any) -> Iterator[Callable[[Tensor], Tensor]]:
    modes = [(module, module.training) for module in model.modules()]
    with renorm.prediction_time(model, *prior, **options):
        try:
            yield model.eval()
        finally:
            for module, training in modes:
                module.training = training


METHODS: dict[str, Callable[..., Any]] = {
    "fixed weight": lambda model, branch: adapted(model, weight=0.25, branch=branch),
    "mean only": lambda model, branch: adapted(model, only="mean", branch=branch),
    "variance only": lambda model, branch: adapted(model, only="variance", branch=branch),
    "prediction-time": lambda model, branch: predicted(model, branch=branch),
    "single image": lambda model, branch: predicted(model, 16, per_image=True, branch=branch),
    "TENT": lambda model, branch: renorm.Tent(model, 1e-2, branch),
}
each_method = pytest.mark.parametrize("method", METHODS)


# 12. An exception or Ctrl-C half way.


@pytest.mark.parametrize("kind", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("norm", [nn.BatchNorm2d, Unknown])
@each_method
def test_an_interruption_leaves_everything_as_it_was(method: str, norm: Any, kind: type[BaseException]):
    model, calls = small(norm).train(), itertools.count()
    renorm.split_(model, ["weak", "strong"])

    def stop(*_: Any) -> None:
        if next(calls):
            raise kind("stop")

    model[4].register_forward_hook(stop)

    def twice() -> None:
        with METHODS[method](model, "strong") as call:
            call(images())
            call(images())

    with unchanged(model), pytest.raises(kind, match="stop"):
        twice()
    with pytest.raises(RuntimeError, match="without a route"):
        model.train()(images())


# 13. A model in evaluation mode as a silent no-op; a layer no batch reached; buffers replaced.


@each_method
def test_a_model_in_evaluation_mode_is_adapted_too(method: str):
    model = small().eval()
    before = model(images()).detach()
    with METHODS[method](model, None) as call:
        call(images())
        assert (call(images()) - before).abs().max() > 1e-2


@pytest.mark.parametrize("method", ["fixed weight", "mean only", "variance only", "TENT"])
def test_a_layer_that_is_not_reached_keeps_what_it_has(method: str):
    model = small()
    model.add_module("unused", nn.BatchNorm2d(7))
    model.forward = lambda x: model[:7](x)  # type: ignore[method-assign]
    with unchanged(model.get_submodule("unused")), METHODS[method](model, None) as call:
        call(images())


@pytest.mark.parametrize("method", ["fixed weight", "mean only", "variance only", "TENT"])
def test_no_layer_that_is_reached_is_an_error(method: str):
    model = small()
    model.forward = lambda x: x.mean((2, 3)).requires_grad_()  # type: ignore[method-assign]
    with (
        unchanged(model),
        METHODS[method](model, None) as call,
        pytest.raises((ValueError, RuntimeError), match=r"reached by the images"),
    ):
        call(images())


@each_method
def test_tensors_are_filled_where_they_are(method: str):
    model = small()
    places = {key: value.data_ptr() for key, value in model.state_dict().items()}
    with METHODS[method](model, None) as call:
        call(images())
        assert {key: value.data_ptr() for key, value in model.state_dict().items()} == places


# 14. Dropout while adapting; `.eval()` afterwards; both ends of the source weight.


@each_method
def test_dropout_is_off_while_adapting_and_on_again(method: str):
    model, free = small(dropout=0.9).train(), small(dropout=0.0).train()
    with METHODS[method](model, None) as call, METHODS[method](free, None) as other:
        for _ in range(2):
            assert_close(call(images()), other(images()), rtol=0, atol=0)
    assert model[3].training


@each_method
def test_evaluation_mode_in_between_changes_nothing(method: str):
    model, other = small(), small()
    with METHODS[method](model, None) as call, METHODS[method](other, None) as expected:
        for _ in range(2):
            model.eval()
            assert_close(call(images()), expected(images()), rtol=0, atol=0)


def test_the_ends_are_exactly_the_source_and_the_batch():
    model, source = small().eval(), small().eval()
    with unchanged(model):
        for end in (
            adapted(model, weight=1),
            predicted(model, float("inf")),
            predicted(model, float("inf"), per_image=True),
        ):
            with end as call, torch.no_grad():
                assert_close(call(images()), source(images()), rtol=0, atol=0)
    with adapted(model, weight=0) as call, adapted(source, prior=0) as expected:
        assert_close(call(images()), expected(images()), rtol=0, atol=0)
    by_batch = small(dropout=0.0).train()
    with predicted(model) as call:
        assert_close(call(images()), by_batch(images()), rtol=1e-4, atol=1e-5)
