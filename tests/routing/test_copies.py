"""A copy of a model that is made inside a block has nothing of the block: nobody ends it there."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.testing import assert_close

import renorm


class Own(nn.BatchNorm2d):
    """A norm that counts in its own way, whatever ``track_running_stats`` says."""

    def forward(self, input: Tensor) -> Tensor:
        self.get_buffer("running_mean").add_(1)
        return input


class Taking:
    """A hook that calls something, and in a copy nothing."""

    def __init__(self, take: Callable[[], None] | None = None) -> None:
        self.take = take

    def __call__(self, module: nn.Module, args: Any) -> None:
        if self.take is not None:
            self.take()

    def __reduce__(self) -> Any:
        return Taking, ()


def made() -> Any:
    torch.manual_seed(0)
    net: Any = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5), nn.Conv2d(5, 7, 1), nn.BatchNorm2d(7), Own(7))
    renorm.split_(net, ["weak", "strong"], sites=["1"])
    with torch.no_grad():
        net[1].running_mean[5:] += 1
    return net


def x(n: int = 4) -> Tensor:
    return torch.randn(n, 3, 2, 2, generator=torch.Generator().manual_seed(n))


def saved(model: nn.Module) -> Any:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def averaged(model: nn.Module) -> Any:
    return AveragedModel(model, use_buffers=True).module


WAYS: dict[str, Callable[[nn.Module], Any]] = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "torch.save": saved,
    "an average": averaged,
}


@pytest.fixture(params=WAYS)
def copied(request: pytest.FixtureRequest) -> Callable[[nn.Module], Any]:
    return WAYS[request.param]


@pytest.mark.parametrize("spec", [("strong",), ("weak", "strong"), (torch.tensor([1, 1, 0, 1]),)], ids=str)
def test_a_copy_has_no_open_route(copied: Any, spec: Any) -> None:
    model = made()
    with renorm.route(model, *spec, folded="time", size=4):
        model(x())
        other = copied(model)
        assert model[1].route.open is not None
    model.eval()
    assert_close(other.eval()(x(3)), model(x(3)))  # by the first branch, and any number of images
    with pytest.raises(RuntimeError, match="without a route"):
        other.train()(x())
    with renorm.route(other, {"weak": 1, "strong": 4}):
        other(x(5))


def test_a_copy_keeps_a_lasting_route(copied: Any) -> None:
    model = made()
    renorm.route_(model, train=["weak", "strong"], eval="strong")
    with renorm.route(model, "weak"):
        other = copied(model)
    model.eval()
    assert_close(other.eval()(x()), model(x()))
    other.train()(x())
    assert (other[1].num_batches_tracked - model[1].num_batches_tracked).tolist() == [1, 1]


def test_a_copy_of_a_model_inside_its_forward_is_at_rest(copied: Any) -> None:
    model, taken = made(), []
    with renorm.route(model, "weak", "strong"):
        model[2].register_forward_pre_hook(Taking(lambda: taken.append(copied(model))))
        model(x())
    route = taken[0][1].route
    assert (route.open, route.batch, route.outermost, route.frozen) == (None, None, None, 0)


def test_a_copy_is_not_frozen(copied: Any) -> None:
    model = made()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with renorm.frozen_statistics(model):
        with renorm.route(model, "weak"):
            model(x())
        other = copied(model)
    assert_close(other.state_dict(), before, rtol=0, atol=0)
    for net in (model, other):
        with renorm.route(net, "weak"):
            net(x())
    assert_close(other.state_dict(), model.state_dict())
    assert other[1].num_batches_tracked.tolist() == [1, 0]
    assert other[3].num_batches_tracked == 1
    assert other[3].track_running_stats is True
    assert_close(other[4].running_mean, torch.ones(7))


def test_a_copy_of_a_borrowed_bank_is_a_model_as_any(copied: Any) -> None:
    model = made().eval()
    bank = renorm.measure(model, [x(16) * 3], branch="strong")
    with renorm.route(model, "strong"), renorm.using(model, bank):
        other, inside = copied(model), model(x())
    with renorm.route(other, "strong"):
        assert_close(other(x()), inside)
    assert other[1].route.open is None


def test_frozen_statistics_hold_for_compiled_norms() -> None:
    torch._dynamo.reset()
    model = nn.Sequential(nn.Conv2d(3, 5, 1), nn.BatchNorm2d(5))
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for count in (1, 2):
        with renorm.frozen_statistics(model):
            y = compiled(x())
        compiled(x())
        assert_close(y.mean((0, 2, 3)), torch.zeros(5), rtol=0, atol=1e-5)
        assert model[1].num_batches_tracked == count
