"""Small models whose norms have statistics and affines of their own, so that no mistake is hidden by zeros and ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

import renorm
from renorm.testing import randomize_

__all__ = ["randomize_"]

TIMM = ("resnet18", "efficientnet_b0", "regnety_002", "densenet121", "mobilenetv3_small_100", "resnext26ts")
CHANNELS = 5


class Doubling(nn.BatchNorm2d):
    """A norm of a class that nobody knows."""

    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


class Absolute(nn.Module):
    """A parametrization."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight.abs()


class Dropping(nn.Dropout):
    """A drop layer that is called with no argument but does something."""

    def __init__(self) -> None:
        super().__init__(p=0.3)


def parametrized() -> nn.Module:
    norm = nn.BatchNorm2d(CHANNELS)
    parametrize.register_parametrization(norm, "weight", Absolute())
    return norm


def without_bias() -> nn.Module:
    """What ``bias=False`` makes where PyTorch has it."""
    norm = nn.BatchNorm2d(CHANNELS)
    norm.register_parameter("bias", None)
    return norm


def no_longer_tracking() -> nn.Module:
    """The flag set later: evaluation still uses the running statistics, training leaves them alone."""
    norm = nn.BatchNorm2d(CHANNELS)
    norm.track_running_stats = False
    return norm


def fused(act: type[nn.Module], **given: Any) -> Any:
    """A norm of timm with its activation inside; the test skips where timm is missing."""
    return pytest.importorskip("timm.layers").BatchNormAct2d(CHANNELS, act_layer=act, **given)


def fused_drop() -> Any:
    return fused(nn.SiLU, drop_layer=Dropping, inplace=False)


def fused_sync() -> nn.Module:
    """What timm's own converter to SyncBatchNorm makes: ``act`` is registered before ``drop`` and called after it."""
    of = fused_drop()
    norm = pytest.importorskip("timm.layers").SyncBatchNormAct(CHANNELS)
    norm.add_module("act", of.act)
    norm.add_module("drop", of.drop)
    return norm


class Case(NamedTuple):
    """A norm, the rank of its input, and whether renorm knows its class."""

    make: Callable[[], nn.Module]
    shape: tuple[int, ...] = (6, CHANNELS, 3, 7)
    known: bool = True


NORMS: dict[str, Case] = {
    "1d": Case(lambda: nn.BatchNorm1d(CHANNELS), (6, CHANNELS)),
    "1d of sequences": Case(lambda: nn.BatchNorm1d(CHANNELS), (6, CHANNELS, 7)),
    "2d": Case(lambda: nn.BatchNorm2d(CHANNELS)),
    "3d": Case(lambda: nn.BatchNorm3d(CHANNELS), (6, CHANNELS, 2, 3, 7)),
    "sync": Case(lambda: nn.SyncBatchNorm(CHANNELS)),
    "affine=False": Case(lambda: nn.BatchNorm2d(CHANNELS, affine=False)),
    "without bias": Case(without_bias),
    "track_running_stats=False": Case(lambda: nn.BatchNorm2d(CHANNELS, track_running_stats=False)),
    "no longer tracking": Case(no_longer_tracking),
    "momentum=None": Case(lambda: nn.BatchNorm2d(CHANNELS, momentum=None)),
    "other eps and momentum": Case(lambda: nn.BatchNorm2d(CHANNELS, eps=0.1, momentum=0.7)),
    "fused": Case(lambda: fused(nn.SiLU)),
    "fused PReLU": Case(lambda: fused(nn.PReLU)),
    "fused drop": Case(fused_drop),
    "fused sync": Case(fused_sync),
    "unknown": Case(lambda: Doubling(CHANNELS), known=False),
    "parametrized": Case(parametrized, known=False),
}


CONVERSIONS: dict[str, Callable[..., Any]] = {
    "split": renorm.split_,
    "sandwich": partial(renorm.sandwich_, share=()),
    "sandwich of shared statistics": renorm.sandwich_,
}
CASES = [  # a sandwich of a norm of unknown class is refused
    pytest.param(convert, case, id=f"{name}, {norm}")
    for name, convert in CONVERSIONS.items()
    for norm, case in NORMS.items()
    if case.known or name == "split"
]


def around(norm: nn.Module) -> nn.Sequential:
    """The norm inside a model, with values of its own."""
    return randomize_(nn.Sequential(norm))


def small(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    """Two convolutions with norms, and a head; inputs are ``(N, 3, H, W)``."""
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(),
        nn.Conv2d(5, 7, 3), nn.BatchNorm2d(7), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(7, 11),
    )  # fmt: skip
    return randomize_(model).to(dtype)


def images(n: int = 6, size: int = 7) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(2))


def from_timm(name: str) -> nn.Module:
    timm = pytest.importorskip("timm")
    torch.manual_seed(3)
    return randomize_(timm.create_model(name, pretrained=False, num_classes=11)).eval()


def tensors(model: nn.Module) -> dict[str, Tensor]:
    """Clones of all that is saved."""
    return {key: value.clone() for key, value in model.state_dict().items()}


def twin(model: Any) -> Any:
    """An independent copy of a model to compare with."""
    return copy.deepcopy(model)
