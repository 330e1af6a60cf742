"""The model as its training begins: built, given weights, and given its branches."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from renorm.banks import branches_of, site_tensors
from renorm.data import Images
from renorm.evaluate import SOURCE
from renorm.extras import require
from renorm.models import create, fetching, library_of, load_weights, usual_preprocessing, versioned
from renorm.recipes.classify.config import PRETRAINED, Config
from renorm.surgery import sandwich_, split_


class Start(NamedTuple):
    """A model and what its input is normalized by, in units of 0 to 1."""

    model: nn.Module
    mean: Sequence[float]
    std: Sequence[float]


def begin(config: Config, images: Images) -> Start:
    """The model of a configuration with the weights it starts from, which bring their own input normalization.

    Raises:
        ValueError: If there are no such weights, or those of another model or other branches.
        OSError: If trained weights cannot be fetched.
    """
    num_classes = len(images.classes)
    if config.network.weights is None:
        return Start(build(config, num_classes), images.mean, images.std)
    if config.network.weights == PRETRAINED:
        build(config, num_classes)  # refuses what can have no branches before anything is fetched
        model = pretrained(config.network.model, num_classes)
        expected = usual_preprocessing(config.network.model, model)
        return Start(branched(model, config), expected.mean, expected.std)
    about = described(Path(config.network.weights))
    _check_branches(config, about.get("branches", []))
    model = load_weights(build(config, num_classes), config.network.weights, ema=not config.network.no_ema)
    return Start(model, about.get("mean", images.mean), about.get("std", images.std))


def build(config: Config, num_classes: int) -> nn.Module:
    """The untrained model of a configuration."""
    make = untrained if config.network.weights == PRETRAINED else create
    return branched(make(config.network.model, num_classes=num_classes), config)


def untrained(name: str, num_classes: int) -> nn.Module:
    """The network that a library's trained weights are of; torchvision's Inceptions normalize their input once more."""
    model: Any = create(name, num_classes=num_classes)
    if hasattr(model, "transform_input"):
        model.transform_input = True
    return model


def branched(model: nn.Module, config: Config) -> nn.Module:
    """A plain model with the branches of a configuration."""
    how, names = config.network, list(config.populations)
    sync = "world" if how.sync_bn else None
    if how.norm == "sandwich":
        generator = torch.Generator().manual_seed(config.seed)
        init = how.sandwich_init
        sandwich_(model, names, share=how.share, sync=sync, init=init, generator=generator)
    elif how.norm == "split":
        split_(model, names, share=how.share, sync=sync)
    return model


def synchronized(model: nn.Module) -> nn.Module:
    """A model whose norms all pool their statistics over processes; plain norms become sites of one branch, ``source``.

    Not torch's own conversion, which loses what is fused with a norm.

    Raises:
        ValueError: If a norm's class is unknown.
    """
    if not branches_of(model):
        split_(model, [SOURCE], sync="world")
    return model


def pretrained(name: str, num_classes: int) -> nn.Module:
    """A model of timm or torchvision with its trained weights; the last layer is new if the classes are others.

    Raises:
        ValueError: For any other model.
        OSError: If the weights cannot be fetched.
    """
    if library_of(name)[0] is None:
        raise ValueError(
            f"--weights {PRETRAINED} with {name}: only timm: and torchvision: models come with trained weights. Name one of "
            "those, or give a file of weights."
        )
    model = untrained(name, num_classes)
    own, given = model.state_dict(), fetch(name).state_dict()
    state = {key: given[key] if given[key].shape == own[key].shape else own[key] for key in own}
    model.load_state_dict(versioned(model, state))
    return model


def fetch(name: str, num_classes: int | None = None, *, tracked: bool = False) -> nn.Module:
    """A model of timm or torchvision with its trained weights, from their cache or the network.

    Args:
        name: Of the model.
        num_classes: Outputs, if not its usual number.
        tracked: Whether its norms must have running statistics, which is looked at before anything is fetched.

    Raises:
        ValueError: For an unknown name, or a model without such norms.
        OSError: If the weights cannot be fetched.
    """
    plan = planned(name, num_classes)
    if tracked:
        site_tensors(plan, None)
    with fetching(name, source_of(name, plan)):
        return create(name, num_classes=num_classes, pretrained=True)


def planned(name: str, num_classes: int | None) -> nn.Module:
    """A network without its weights, in no time and memory where it can be."""
    try:
        with torch.device("meta"):
            return create(name, num_classes=num_classes)
    except (NotImplementedError, RuntimeError):  # some compute numbers while they are made
        return create(name, num_classes=num_classes)


def source_of(name: str, plan: nn.Module) -> str | None:
    """Where trained weights come from; None for the Hugging Face hub."""
    library, rest = library_of(name)
    if library == "torchvision":
        weights = require("torchvision.models").get_model_weights(rest)
        return weights.DEFAULT.url
    given = getattr(plan, "pretrained_cfg", None) or {}
    return None if given.get("hf_hub_id") else given.get("url") or None


def described(path: Path) -> dict[str, Any]:
    """Branches and input normalization, where a file of weights says them, as those that renorm wrote do."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError):
        return {}  # a torch file, or what load_weights says is wrong
    return {key: json.loads(metadata[key]) for key in ("branches", "mean", "std") if key in metadata}


def _check_branches(config: Config, found: Sequence[str]) -> None:
    wanted = list(config.populations) if config.split else []
    if found and list(found) != wanted:
        needed = ", ".join(wanted) or "none, with shared norms"
        raise ValueError(
            f"{config.network.weights} has the branches {', '.join(found)}: this model has {needed}. Train with the same "
            "--branches in the same order, or start from one of them: renorm fold --branch."
        )
