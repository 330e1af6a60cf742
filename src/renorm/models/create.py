"""Networks by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from renorm.extras import require
from renorm.models.cell_network import CellNetwork
from renorm.models.code import by_code, is_code
from renorm.models.densenet import DenseNet
from renorm.models.download import fetching
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
        OSError: a model of the hub cannot be fetched.
        RuntimeError: the named code fails.

    Example:
        >>> sum(p.numel() for p in create("resnet20", num_classes=10).parameters())
        269722
    """
    library, rest = library_of(name)
    if is_code(name):
        return by_code(name, num_classes, options)
    if num_classes is not None:
        options["num_classes"] = num_classes
    if library is not None:
        return LIBRARIES[library](rest, options)
    if name.startswith("cell:"):
        return CellNetwork(name.removeprefix("cell:"), **options)
    for pattern, network in FAMILIES.items():
        if match := re.fullmatch(pattern, name):
            return network(*map(int, match.groups()), **options)
    raise unknown(name, NAMES)


def library_of(name: str) -> tuple[str | None, str]:
    """The library that a name is of, and what that calls it; models of the hub are timm's.

    Example:
        >>> library_of("torchvision:resnet18"), library_of("hf_hub:timm/resnet18.a1_in1k"), library_of("resnet20")
        (('torchvision', 'resnet18'), ('timm', 'hf_hub:timm/resnet18.a1_in1k'), (None, 'resnet20'))
    """
    library, separator, rest = name.partition(":")
    if separator and library in HUBS:
        return "timm", name
    return (library, rest) if separator and library in LIBRARIES else (None, name)


def is_name(name: str) -> bool:
    """Whether something names a network, rather than a place of the disk."""
    return not Path(name).exists() and (library_of(name)[0] is not None or is_code(name) or "/" not in name)


def from_timm(name: str, options: dict[str, Any]) -> nn.Module:
    timm = require("timm")
    if name.partition(":")[0] in HUBS:
        with fetching(name):
            return timm.create_model(name, **options)
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
HUBS = ("hf_hub", "hf-hub")  # before a name, by which timm takes it from the Hugging Face hub
LIBRARIES = {"timm": from_timm, "torchvision": from_torchvision}


def unknown(name: str, names: Iterable[str], prefix: str = "") -> ValueError:
    names = list(names)
    close = difflib.get_close_matches(name, names, n=5, cutoff=0.5) or names[:5]
    place = "" if prefix else ", and no run or file is there"
    return ValueError(
        f"no network is called {prefix + name!r}{place}. The nearest names are {', '.join(prefix + near for near in close)}. "
        "Use one of these, a name that timm or torchvision knows, 'timm:NAME', 'torchvision:NAME', or code of your own, "
        "'file.py:function'."
    )
