"""What a norm is, where neither a class nor an attribute says it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import renorm
from renorm.layers import moves, moving, read_by_methods, read_by_parents

CHANNELS = 5


class BatchRenorm(nn.Module):
    """Statistics of batches under other names, that normalize in training too."""

    def __init__(self, channels: int = CHANNELS, rank: int = 2) -> None:
        super().__init__()
        self.weight, self.rank = nn.Parameter(torch.ones(channels)), rank
        self.register_buffer("running_avg_mean", torch.zeros(channels))
        self.register_buffer("running_avg_std", torch.ones(channels))
        self.register_buffer("num_batches", torch.tensor(0))

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != self.rank + 2:
            raise ValueError("another shape")
        if self.training:
            self._move(x.detach())
        shape = (-1, *(1,) * self.rank)
        return (x - self.get_buffer("running_avg_mean").view(shape)) * self.weight.view(shape)

    def _move(self, x: Tensor) -> None:
        self.get_buffer("running_avg_mean").lerp_(x.mean((0, *range(2, x.ndim))), 0.1)
        self.get_buffer("num_batches").add_(1)


class OneVariance(nn.Module):
    """A running variance and no mean, replaced and not filled."""

    def __init__(self, channels: int = CHANNELS) -> None:
        super().__init__()
        self.register_buffer("ema", torch.ones(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.ema = 0.9 * self.ema + 0.1 * x.detach().var((0, 2, 3), keepdim=True)
        return x / self.ema.sqrt()


class Derived(BatchRenorm):
    """Whose forward is another's."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


class Constant(nn.Module):
    """Buffers per channel that no forward moves, in a module that asks for its mode."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(CHANNELS))

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.dropout(x - self.get_buffer("mean")[:, None, None], 0.5, self.training)


class Observer(Constant):
    """Learns whenever it is called, as observers of a quantization do."""

    def forward(self, x: Tensor) -> Tensor:
        self.get_buffer("mean").add_(1 + self.training)
        return x


class Codebook(Constant):
    """A table that training moves, but not one number per channel."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("codes", torch.randn(CHANNELS, 3))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.get_buffer("codes").mul_(0.9)
        return x


class Picky(Constant):
    """A forward that no features suit."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.ndim != 9:
            raise ValueError("other features")
        return x


NORMS: dict[str, Any] = {
    "batch renormalization": BatchRenorm,
    "of vectors": lambda: BatchRenorm(rank=0),
    "of sequences": lambda: BatchRenorm(rank=1),
    "of volumes": lambda: BatchRenorm(rank=3),
    "one variance": OneVariance,
    "by inheritance": Derived,
    "EvoNorm B0": lambda: pytest.importorskip("timm.layers").EvoNorm2dB0(CHANNELS),
    "EvoNorm B1": lambda: pytest.importorskip("timm.layers").EvoNorm2dB1(CHANNELS),
    "EvoNorm B2": lambda: pytest.importorskip("timm.layers").EvoNorm2dB2(CHANNELS),
}
OTHERS: dict[str, Any] = {
    "constants": Constant,
    "an observer": Observer,
    "a codebook": Codebook,
    "spectral norm": lambda: nn.utils.parametrizations.spectral_norm(nn.Linear(CHANNELS, CHANNELS)),
    "spectral norm by hooks": lambda: nn.utils.spectral_norm(nn.Linear(CHANNELS, CHANNELS)),
    "a group norm": lambda: nn.GroupNorm(1, CHANNELS),
    "an instance norm": lambda: nn.InstanceNorm2d(CHANNELS, track_running_stats=True),
}


@pytest.mark.parametrize("make", NORMS.values(), ids=NORMS)
def test_what_training_moves_and_evaluation_does_not_is_a_norm(make: Any):
    module = make()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert moves(module) is True
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert module.training


@pytest.mark.parametrize("make", OTHERS.values(), ids=OTHERS)
def test_other_modules_are_none(make: Any):
    assert moving(nn.Sequential(make())) == {}


def test_what_cannot_be_tried_is_not_known():
    assert moves(Picky()) is None
    report = renorm.split_(nn.Sequential(nn.BatchNorm2d(CHANNELS), Picky()), ["weak", "strong"])
    assert report.left == {"1": "it may be a norm of a kind that could not be tried, and branches share it"}


@pytest.mark.parametrize("make", [BatchRenorm, OneVariance, Derived])
def test_frozen_statistics_hold_for_them(make: Any):
    model = nn.Sequential(make())
    renorm_, before = model[0], {key: value.clone() for key, value in model.state_dict().items()}
    with renorm.frozen_statistics(model):
        model(torch.randn(4, CHANNELS, 3, 3))
    assert all(torch.equal(value, before[key]) for key, value in renorm_.state_dict(prefix="0.").items())
    model(torch.randn(4, CHANNELS, 3, 3))
    assert not all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


class Reading(nn.Module):
    """Normalizes by its norm's tensors, and never calls it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return self._normalized(x)

    def _normalized(self, x: Tensor) -> Tensor:
        return x - self.norm.running_mean[:, None, None]  # pyright: ignore[reportOptionalSubscript]


class Merging(Reading):
    """Reads them only to be merged."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x)

    def merge(self) -> Any:
        return self.norm.running_var


def test_parents_that_read_statistics_are_known_by_their_forward():
    model = nn.Sequential(Reading(), nn.Sequential(Merging()), nn.BatchNorm2d(CHANNELS))
    norms = {name: m for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert read_by_parents(model, norms) == {"0.norm": "Reading"}
    assert read_by_methods(model, norms) == ["Merging"]
