"""Parameters, gradients and the state of optimizers divided among processes (torch's FSDP2), and whole again for files.

Not by accelerate, which takes one model for each optimizer, and on the CPU replicates the model without a word.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


def shard_(model: nn.Module, device: torch.device, count: int) -> None:
    """Divide the parameters of a model among processes: those of each of its sequences are gathered together, then the rest.

    Not those of single layers: what a layer gives may be a view, to which FSDP2 cannot attach its backward.

    Raises:
        RuntimeError: On a CPU with a torch that divides there in its first forward only to fail.
    """
    if device.type == "cpu" and not hasattr(torch.cpu.Stream, "record_event"):
        raise RuntimeError(
            f"--shard on a CPU with torch {torch.__version__}: its FSDP2 needs a GPU. Upgrade torch, or leave out --shard."
        )
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (count,))
    for child in model.children():
        if isinstance(child, nn.Sequential) and any(True for _ in child.parameters()):
            fully_shard(child, mesh=mesh)
    fully_shard(model, mesh=mesh)


@contextmanager
def gathered(model: nn.Module) -> Iterator[None]:
    """Have all parameters in each process within the block, whose forwards then wait for nobody; all enter it together."""
    from torch.distributed.fsdp import FSDPModule

    parts = [module for module in model.modules() if isinstance(module, FSDPModule)]
    for part in parts:
        part.set_reshard_after_forward(False, recurse=False)
        part.unshard()
    try:
        yield
    finally:
        for part in parts:
            part.reshard()
            part.set_reshard_after_forward(part is not model, recurse=False)


def whole(values: Any) -> Any:
    """Nested dicts and lists with every divided tensor put together; all processes call it."""
    if isinstance(values, Mapping):
        return {key: whole(value) for key, value in values.items()}
    if isinstance(values, list):
        return [whole(value) for value in values]
    return values.full_tensor() if is_divided(values) else values


def divided(value: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, where another one is divided."""
    if not is_divided(like):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def is_divided(value: Any) -> bool:
    """Whether it is a tensor of which this process has a part."""
    if type(value) in (Tensor, nn.Parameter) or not isinstance(value, Tensor):
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(value, DTensor)
