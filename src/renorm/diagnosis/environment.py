"""Versions, devices and threads, for reports of bugs and differences between machines."""

from __future__ import annotations

import platform
from collections import Counter
from importlib.metadata import PackageNotFoundError, version

import torch
from torch import nn

from renorm.version import __version__

LIBRARIES = ("torchvision", "timm", "accelerate", "onnxruntime")


def environment(model: nn.Module) -> dict[str, str]:
    """What a model computes with."""
    tensors = [*model.parameters(), *model.buffers()]
    devices = Counter(f"{t.device} {str(t.dtype).removeprefix('torch.')}" for t in tensors)
    found = {"renorm": __version__, "python": platform.python_version(), "torch": str(torch.__version__)}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["tensors"] = ", ".join(f"{number} {name}" for name, number in devices.most_common())
    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    found["accelerator"] = "none" if accelerator is None else str(accelerator)
    found["threads"] = str(torch.get_num_threads())
    return found
