"""Small models for the tests of banks, and what must be unchanged about them."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.testing import assert_close

from tests.oracles.numbers import fill


def rectified() -> Any:
    """The network that reference numbers of rectification were computed on."""
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 3, padding=1, bias=False),
        nn.BatchNorm2d(5),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(5, 3),
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(fill(parameter, 0.1, 0.4))
        for norm in (m for m in model if isinstance(m, nn.BatchNorm2d)):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            norm.weight.copy_(fill(norm.weight, 1, 0.2))
            norm.bias.copy_(fill(norm.bias, 0, 0.2))
            norm.running_mean.copy_(fill(norm.running_mean, 0.05, 0.3))
            norm.running_var.copy_(1 + 0.5 * torch.cos(torch.arange(norm.num_features)))
    return model.eval()


class Unknown(nn.BatchNorm2d):
    """A norm of a class the library has no rule for."""

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return super().forward(input).tanh()


def small(norm: type[nn.Module] = nn.BatchNorm2d, conv: Any = nn.Conv2d, dropout: float = 0.5) -> Any:
    """Two sites, named 1 and 5, of 5 and 7 channels, with dropout between and values that are nobody's default."""
    with torch.random.fork_rng():
        torch.manual_seed(2)
        first, second = conv(3, 5, 3, padding=1), conv(5, 7, 1)
    model = nn.Sequential(first, norm(5), nn.ReLU(), nn.Dropout(dropout), second, norm(7), nn.Tanh())
    randomize(model)
    return model


def randomize(model: nn.Module) -> None:
    """Give norms affines and statistics unlike those they start with."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for module in model.modules():
            if not hasattr(module, "running_mean"):
                continue
            for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
                if tensor.is_floating_point():
                    noise = torch.randn(tensor.shape, generator=generator)
                    tensor.copy_(noise.abs() + 0.5 if key == "running_var" else noise)


@contextmanager
def unchanged(model: nn.Module) -> Iterator[None]:
    """Whatever happens in the block, a model's tensors (bit by bit and in place), modes and hooks are as before at its end."""
    values = {key: value.clone() for key, value in model.state_dict().items()}
    facts = _facts(model)
    try:
        yield
    finally:
        state = model.state_dict()
        assert list(state) == list(values)
        for key, value in values.items():
            assert_close(state[key], value, rtol=0, atol=0, equal_nan=True)
        assert _facts(model) == facts


def _facts(model: nn.Module) -> list[Any]:
    own = [*model.named_parameters(), *model.named_buffers()]
    facts: list[Any] = [(key, value.data_ptr()) for key, value in own]
    for name, module in model.named_modules():
        options = [getattr(module, key, None) for key in ("momentum", "track_running_stats", "p", "eps")]
        facts.append((name, module.training, len(module._forward_hooks), len(module._forward_pre_hooks), options))
    return facts + [(name, p.requires_grad, p.grad is None) for name, p in model.named_parameters()]
