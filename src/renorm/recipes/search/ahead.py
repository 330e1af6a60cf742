"""One step ahead: the gradient of a mixture's weights through a step of the network's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from renorm.layers import frozen_statistics
from renorm.models import Supernet

LOOK = 0.01  # how far the network's weights are moved, in all, to differentiate a gradient by them


def second_order(
    net: Supernet,
    seen: Callable[[], Tensor],
    held: Callable[[], Tensor],
    optimizer: torch.optim.Optimizer,
    everywhere: Callable[[Sequence[Tensor]], Sequence[Tensor]] = tuple,
) -> tuple[float, Tensor]:
    r"""The held-out loss one step ahead, and its gradient by the mixture's weights.

    .. math:: w' = w - r (m b + \nabla_w L_t + \lambda w), \quad v = \nabla_{w'} L_v(w'), \quad \epsilon = 0.01 / |v|

    .. math:: \nabla_\alpha L_v(w') - r\, \frac{\nabla_\alpha L_t(w + \epsilon v) - \nabla_\alpha L_t(w - \epsilon v)}{2 \epsilon}

    Its forwards move no statistics, and the network's weights are given back bit for bit.

    Args:
        net: As it is, w.
        seen: Gives :math:`L_t` by the net as it is then; all forwards have one draw.
        held: Gives :math:`L_v`.
        optimizer: Of the weights: its rate r, momentum m, buffers b and decay :math:`\lambda`.
        everywhere: The means of tensors over all processes.

    Reference: Liu, Simonyan & Yang, *DARTS*, ICLR 2019, equation 8.
    """
    weights, rate = list(net.weights()), optimizer.param_groups[0]["lr"]

    def gradient(loss_of: Callable[[], Tensor], of: list[Any]) -> Sequence[Tensor]:
        """The loss, and its gradients."""
        loss = loss_of()
        found = torch.autograd.grad(loss, of, materialize_grads=True, allow_unused=True)
        return everywhere([loss.detach(), *found])

    with frozen_statistics(net):
        _, *slope = gradient(seen, weights)
        with moved(weights, _ahead(optimizer, dict(zip(weights, slope, strict=True))), -rate):
            loss, own, *v = gradient(held, [net.alpha, *weights])
        length = torch.stack([t.square().sum() for t in v]).sum().sqrt()
        step = LOOK / float(length)
        with moved(weights, v, step):
            _, ahead = gradient(seen, [net.alpha])
        with moved(weights, v, -step):
            _, behind = gradient(seen, [net.alpha])
    return float(loss), own - rate * (ahead - behind) / (2 * step)


def _ahead(optimizer: torch.optim.Optimizer, slopes: Mapping[nn.Parameter, Tensor]) -> list[Tensor]:
    """Where a step of the weights would go, in the order of the slopes."""
    found = {}
    for group in optimizer.param_groups:
        for p in group["params"]:
            buffer = optimizer.state.get(p, {}).get("momentum_buffer")
            slope = slopes[p] + group["weight_decay"] * p.detach()
            found[p] = slope if buffer is None else group["momentum"] * buffer + slope
    return [found[p] for p in slopes]


@contextmanager
def moved(parameters: Sequence[nn.Parameter], directions: Sequence[Tensor], factor: float) -> Iterator[None]:
    """Move parameters for a block; afterwards they are what they were, not what rounding makes of the way back."""
    before = [p.detach().clone() for p in parameters]
    try:
        with torch.no_grad():
            for p, direction in zip(parameters, directions, strict=True):
                p.add_(direction, alpha=factor)
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, before, strict=True):
                p.copy_(value)
