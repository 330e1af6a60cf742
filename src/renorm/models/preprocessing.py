"""How a model's library makes its input."""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from renorm.data import Preprocessing, config_of, preprocessing_of
from renorm.extras import require
from renorm.models.create import library_of


def usual_preprocessing(name: str, model: nn.Module) -> Preprocessing:
    """What a network's trained weights expect of their input, as its library says; ImageNet's numbers where none does.

    Of several weights of torchvision these are the newest, which ``pretrained`` means.

    Args:
        name: as :func:`renorm.models.create` takes it.
        model: the network, which timm describes.

    Example:
        >>> from renorm.models import create
        >>> print(usual_preprocessing("torchvision:resnet18", create("torchvision:resnet18", None)))
        224 px, crop 0.875, bilinear, mean 0.485 0.456 0.406 std 0.229 0.224 0.225, from torchvision's IMAGENET1K_V1
    """
    library, architecture = library_of(name)
    if library != "torchvision":
        return preprocessing_of(model) if config_of(model) else Preprocessing(source="ImageNet's usual numbers")
    weights = require("torchvision.models").get_model_weights(architecture)
    if not len(weights):
        return Preprocessing(source="ImageNet's usual numbers")
    newest = weights.DEFAULT
    return replace(preprocessing_of(newest.transforms()), source=f"torchvision's {newest.name}")
