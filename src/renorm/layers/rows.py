"""Rows of flat tensors: one per branch, or one that branches share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from renorm.routing import UNKNOWN

Rows = slice | Tensor  # of a table by branch


def extended(flat: Tensor, rows: int, row: int, identity: float = 0.0) -> Tensor:
    """A flat tensor with one row more, which is a copy of another; of samples of no branch, a constant."""
    table = flat.view(rows, -1)
    new = torch.full_like(table[:1], identity) if row == UNKNOWN else table[row : row + 1]
    return torch.cat([table, new]).view(-1)


def repeated(tensor: Tensor, size: int) -> Tensor:
    """A flat tensor of ``size`` made of copies."""
    with torch.no_grad():
        return tensor.detach().reshape(-1).repeat(size // max(1, tensor.numel()))


def row_of(flat: Tensor, rows: int, row: int) -> Tensor:
    """The part of a flat tensor that belongs to a branch, all of it where it is shared."""
    return flat.view(rows, -1)[row if rows > 1 else 0]


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers that a module itself has."""
    return {key: t for key, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}
