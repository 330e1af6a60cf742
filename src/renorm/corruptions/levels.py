"""Between levels of 8 bits and numbers in [0, 1]."""

import torch
from torch import Tensor


def to_float(x: Tensor) -> Tensor:
    """Contiguous single precision; bytes become level / 255."""
    x = x.contiguous()
    return x.to(torch.float32).div_(255) if x.dtype == torch.uint8 else x.to(torch.float32)


def to_bytes(x: Tensor) -> Tensor:
    """The nearest levels."""
    # By way of int16, as floating numbers become bytes four times slower.
    return x.mul(255).round_().to(torch.int16).to(torch.uint8)
