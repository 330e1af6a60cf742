"""Spectral normalization that is exact under mixed precision and from the first forward on."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

ITERATIONS = 15  # of the power method before the first forward


class Spectral(nn.Module):
    r"""A weight divided by its largest singular value, as power iteration knows it.

    .. math:: W \leftarrow W / \sigma, \qquad \sigma = u^\top W v

    of W as a matrix of its first dimension by all others; u and v, its singular vectors, are state. In training each forward
    improves them by one iteration; in evaluation nothing moves. All of it is computed outside autocast, where half precision
    would be .2 % off.

    Reference: Miyato et al., *Spectral Normalization for Generative Adversarial Networks*, ICLR 2018.
    """

    u: Tensor
    v: Tensor

    def __init__(self, weight: Tensor, generator: torch.Generator | None = None) -> None:
        super().__init__()
        matrix = weight.detach().flatten(1)
        for name, size in zip("uv", matrix.shape, strict=True):
            start = torch.randn(size, generator=generator, dtype=matrix.dtype).to(matrix.device)
            self.register_buffer(name, F.normalize(start, dim=0))
        self.iterate_(matrix, ITERATIONS)

    @torch.no_grad()
    def iterate_(self, matrix: Tensor, number: int = 1) -> None:
        """Improve u and v, in place: every rank and every copy by buffers holds the same tensors."""
        for _ in range(number):
            self.v.copy_(F.normalize(matrix.mT @ self.u, dim=0))
            self.u.copy_(F.normalize(matrix @ self.v, dim=0))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            matrix = weight.flatten(1)
            if self.training:
                self.iterate_(matrix.detach())
            u, v = self.u.clone(), self.v.clone()  # a second forward before backward would change them under autograd
            return weight / torch.dot(u, matrix @ v)


def spectral(module: nn.Module) -> nn.Module:
    """The module with its weight spectrally normalized; set the weight before, as its singular vectors are taken now."""
    weight = module.get_parameter("weight")
    return parametrize.register_parametrization(module, "weight", Spectral(weight))
