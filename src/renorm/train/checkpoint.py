"""Checkpoints of a run: ``checkpoint/step-00000100/{model.safetensors, state.pt}``.

A new version is complete before it gets its name and before the old one goes, so that a process killed at any moment
leaves one that loads. Weights are safetensors; the rest holds tensors and plain values only, and nothing is unpickled.
"""

import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from renorm.models import versioned

WEIGHTS, STATE = "model.safetensors", "state.pt"


class Checkpoint(NamedTuple):
    """What a checkpoint holds: the model's tensors, their description, and the state of the training."""

    weights: dict[str, Tensor]
    metadata: dict[str, Any]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a new version and remove the older ones."""
    version = folder / f"step-{step:08d}"
    if version.exists():  # the same step again, after resuming at it
        return version
    with _new_folder(version) as temporary:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.weights.items()}
        metadata = {key: json.dumps(value) for key, value in checkpoint.metadata.items()}
        save_file(_unshared(tensors), temporary / WEIGHTS, metadata)
        torch.save(checkpoint.state, temporary / STATE)
    for old in versions(folder)[:-1]:
        shutil.rmtree(old)
    return version


def load(folder: Path, device: str = "cpu") -> Checkpoint:
    """Read the newest version.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a file of it is damaged.
    """
    found = versions(folder)
    if not found:
        raise FileNotFoundError(
            f"no checkpoint in {folder}: a folder step-* with {WEIGHTS} is needed. Give the folder of a run that reached "
            "its first checkpoint, or train it again."
        )
    weights, metadata = read_weights(found[-1] / WEIGHTS, device)
    return Checkpoint(weights, metadata, _read_state(found[-1] / STATE))


def load_into(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load tensors strictly."""
    model.load_state_dict(versioned(model, weights))


def versions(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"))


def read_weights(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file that :func:`save` wrote.

    Raises:
        ValueError: If the file is damaged.
    """
    try:
        with safe_open(path, "pt", device=device) as file:
            metadata = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except SafetensorError as error:
        raise _damaged(path, error) from error


def _read_state(path: Path) -> dict[str, Any]:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"{path} cannot be read ({str(error).splitlines()[0]}): a whole file as `renorm train` writes it is needed. "
        "Copy it again, or train again."
    )


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copy tensors whose memory another one holds too, which safetensors refuses."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        pointer = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if pointer in seen else tensor
        seen.add(pointer)
    return result


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder that becomes ``path`` when the block ends well."""
    temporary = path.with_name(".unfinished")
    shutil.rmtree(temporary, ignore_errors=True)  # a killed process may have left one
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for file in temporary.iterdir():
            _flush(file)
        os.rename(temporary, path)
        _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
