"""Networks by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import Any

from torch import nn

from renorm.extras import require
from renorm.models.cell_network import CellNetwork
from renorm.models.densenet import DenseNet
from renorm.models.preact import PreActResNet
from renorm.models.resnet import ResNet
from renorm.models.vgg import VGG
from renorm.models.wideresnet import WideResNet

FAMILIES: dict[str, Callable[..., nn.Module]] = {  # a pattern of names, whose numbers are the network's first arguments
    r"resnet(\d+)": ResNet,
    r"wrn-(\d+)-(\d+)": WideResNet,
    r"preact-resnet(\d+)": PreActResNet,
    r"vgg(\d+)-bn": VGG,
    r"densenet-bc-(\d+)-(\d+)": DenseNet,
}
NAMES = (
    *("resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "wrn-16-4", "wrn-28-2", "wrn-28-10", "wrn-40-2"),
    *("preact-resnet18", "preact-resnet34", "vgg11-bn", "vgg13-bn", "vgg16-bn", "vgg19-bn"),
    *("densenet-bc-100-12", "densenet-bc-190-40", "densenet-bc-250-24"),
)  # examples, for messages


def create(name: str, num_classes: int | None = 10, **options: Any) -> nn.Module:
    """Build a network by its name.

    Args:
        name: ``"timm:NAME"``, ``"torchvision:NAME"``, or a network for small images: ``"resnet20"`` (any depth 6n + 2),
            ``"wrn-28-2"`` (any depth 6n + 4 and width), ``"preact-resnet18"``, ``"vgg16-bn"``, ``"densenet-bc-100-12"``
            (depth and growth), ``"cell:STRING"`` (a cell of NAS-Bench-201, of ``width=16`` and ``cells=5``).
        num_classes: number of outputs; None keeps what the named library gives, as trained weights need.
        options: further arguments of the network: ``in_channels``, ``dropout``, or the named library's own;
            ``pretrained=True`` asks timm or torchvision for trained weights. Torchvision's auxiliary heads are left out unless
            ``aux_logits=True``: their norms never see an image in evaluation.

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
    if separator and library == "cell":
        return CellNetwork(rest, **options)
    for pattern, network in FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            return network(*map(int, match.groups()), **options)
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
    if name not in WITH_AUXILIARY:
        return models.get_model(name, **options)
    wanted = options.setdefault("aux_logits", False)
    if not wanted and "weights" in options:
        del options["aux_logits"]  # trained weights come with heads, and refuse to go without
    model = models.get_model(name, **options)
    if not wanted:
        model.aux_logits = False
        for head in WITH_AUXILIARY[name]:
            setattr(model, head, None)
    return model


# Torchvision's heads that only training calls.
WITH_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}
LIBRARIES = {"timm": from_timm, "torchvision": from_torchvision}


def unknown(name: str, names: Iterable[str], prefix: str = "") -> ValueError:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[:5]
    return ValueError(
        f"no network is called {prefix + name!r}. The nearest names are {', '.join(prefix + near for near in close)}. "
        "Use one of these, or a name that timm or torchvision knows: 'timm:NAME', 'torchvision:NAME'."
    )
