"""Networks by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from torch import nn

from renorm.extras import require
from renorm.models.resnet import ResNet
from renorm.models.wideresnet import WideResNet

NAMES = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "wrn-16-4", "wrn-28-2", "wrn-28-10", "wrn-40-2")


def create(name: str, num_classes: int | None = 10, **options: Any) -> nn.Module:
    """Build a network by its name.

    Args:
        name: ``"resnet20"`` (any depth 6n + 2), ``"wrn-28-2"`` (any depth 6n + 4 and width), ``"timm:NAME"`` or
            ``"torchvision:NAME"``.
        num_classes: number of outputs; None keeps what the named library gives, as trained weights need.
        options: further arguments of the network: ``in_channels``, ``dropout``, or the named library's own;
            ``pretrained=True`` asks timm or torchvision for trained weights.

    Raises:
        ValueError: no network has this name; the message lists the nearest.
        ImportError: the named library is missing or does not import.

    Example:
        >>> sum(p.numel() for p in create("resnet20", num_classes=10).parameters())
        269722
    """
    if num_classes is not None:
        options["num_classes"] = num_classes
    library, separator, rest = name.partition(":")
    if separator and library in LIBRARIES:
        return LIBRARIES[library](rest, options)
    if match := re.fullmatch(r"resnet(\d+)", name):
        return ResNet(int(match[1]), **options)
    if match := re.fullmatch(r"wrn-(\d+)-(\d+)", name):
        return WideResNet(int(match[1]), int(match[2]), **options)
    raise unknown(name, NAMES)


def from_timm(name: str, options: dict[str, Any]) -> nn.Module:
    timm = require("timm")
    if not timm.is_model(name):
        raise unknown(name, timm.list_models(), prefix="timm:")
    return timm.create_model(name, **options)


def from_torchvision(name: str, options: dict[str, Any]) -> nn.Module:
    models = require("torchvision.models")
    if name not in models.list_models(module=models):
        raise unknown(name, models.list_models(module=models), prefix="torchvision:")
    if options.pop("pretrained", False):
        options["weights"] = "DEFAULT"
    return models.get_model(name, **options)


LIBRARIES = {"timm": from_timm, "torchvision": from_torchvision}


def unknown(name: str, names: Iterable[str], prefix: str = "") -> ValueError:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[:5]
    return ValueError(
        f"no network is called {prefix + name!r}. The nearest names are {', '.join(prefix + near for near in close)}. "
        "Use one of these, or a name that timm or torchvision knows: 'timm:NAME', 'torchvision:NAME'."
    )
