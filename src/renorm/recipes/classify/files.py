"""Files that a named model is written to: plain weights, or a program that runs without renorm."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import nn

from renorm.export import Normalized, write
from renorm.files import write_atomically
from renorm.recipes.classify.named import NamedModel
from renorm.recipes.kind import ExportedRun

ROWS = 4  # of the batch that a program is compared on, besides a batch of 1


def write_plain(named: NamedModel, branch: str | None, path: Path) -> nn.Module:
    """Write the plain model of a branch, which opens again by :func:`renorm.recipes.open_file`; it is what the file gives back.

    Raises:
        ValueError: If the file's name is not one of safetensors.
        RuntimeError: If the folded model is not equal to the branch.
    """
    if path.suffix != ".safetensors":
        raise ValueError(
            f"cannot write {path}: weights are safetensors files. Call it {path.with_suffix('.safetensors')}."
        )
    plain = named.classifier.folded(branch)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in plain.state_dict().items()}
    about = {key: json.dumps(value) for key, value in named.about_folded().items()}
    write_atomically(path, save(tensors, about or None))
    plain.load_state_dict(load_file(path))
    return plain


def input_of(named: NamedModel, normalize: bool) -> dict[str, Any]:
    """What a program of a model takes, for those who use it."""
    classifier, size = named.classifier, named.classifier.size or 32
    return {
        "classes": list(classifier.classes),
        "input": "RGB in [0, 1]" if normalize else "(RGB in [0, 1] - mean) / std",
        "shape": ["batch", 3, size, size],
        "mean": list(classifier.mean),
        "std": list(classifier.std),
    }


def write_program(
    named: NamedModel, plain: nn.Module, path: Path, about: Mapping[str, Any], *, normalize: bool = False
) -> ExportedRun:
    """Write a plain model with all that is needed to use it, compared with the model itself.

    Args:
        named: What it is a plain model of.
        plain: The model, as ``named.classifier.folded`` gives it.
        path: A .pt2 or .onnx file.
        about: What the file says of where it comes from.
        normalize: Whether the program takes images in 0 to 1 and normalizes them itself.
    """
    classifier, described = named.classifier, input_of(named, normalize)
    size = described["shape"][-1]
    pixels = torch.rand(ROWS, 3, size, size, generator=torch.Generator().manual_seed(0))
    classifier.check_takes(pixels)
    model = Normalized(plain, classifier.mean, classifier.std) if normalize else plain
    file = write(model, path, pixels if normalize else classifier.normalize(pixels), about={**about, **described})
    return ExportedRun(file, f"float32 images (batch, 3, {size}, {size}): {described['input']}", described)
