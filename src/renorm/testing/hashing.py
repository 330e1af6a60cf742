"""Whether a model is as it was, down to the objects in it."""

from __future__ import annotations

import hashlib

import torch
from torch import nn

from renorm.layers import HOOKS


def hashed(model: nn.Module) -> str:
    """All that a verb may leave otherwise than it was: tensors by value and place, modes, hooks, ``requires_grad``, gradients."""
    digest = hashlib.sha256()
    for name, module in model.named_modules():
        hooks = [[id(hook) for hook in getattr(module, key).values()] for key in HOOKS if "with_kwargs" not in key]
        digest.update(f"{name} {type(module)} {id(module)} {module.training} {hooks}".encode())
        for key, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                facts = (key, id(tensor), tensor.data_ptr(), tensor.requires_grad, tensor.grad is None, tensor.dtype)
                digest.update(
                    f"{facts}".encode() + tensor.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
                )
    return digest.hexdigest()
