"""Checkpoints of a run: ``checkpoint/step-00000100/`` with ``state.pt`` and a file for each network, ``model.safetensors``.

A new version is complete before it gets its name and before the old one goes, so that a process killed at any moment
leaves one that loads. Weights are safetensors; the rest holds tensors and plain values only, and nothing is unpickled.
"""

import json
import os
import pickle
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from renorm.files import check_readable, writing
from renorm.models import versioned
from renorm.train.older import updated
from renorm.train.shards import divided

WEIGHTS, STATE = ".safetensors", "state.pt"
FORMAT = 1


class Checkpoint(NamedTuple):
    """What a checkpoint holds: the tensors of each network, what describes them, and the state of the training."""

    weights: Mapping[str, Mapping[str, Tensor]]
    metadata: dict[str, Any]
    state: dict[str, Any]


def save(folder: Path, step: int, checkpoint: Checkpoint) -> Path:
    """Write a new version and remove the older ones."""
    version = folder / f"step-{step:08d}"
    if version.exists():  # the same step again, after resuming at it
        return version
    with _new_folder(version) as temporary:
        metadata = {key: json.dumps(value) for key, value in ({"format": FORMAT} | checkpoint.metadata).items()}
        for name, weights in checkpoint.weights.items():
            tensors = {key: tensor.detach().cpu().contiguous() for key, tensor in weights.items()}
            _write_weights(weights_of(temporary, name), _unshared(tensors), metadata)
        _write_state(temporary / STATE, {"format": FORMAT, **checkpoint.state})
    for old in versions(folder)[:-1]:
        shutil.rmtree(old)
    return version


def _write_weights(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    with writing(path, SafetensorError):
        path.touch()
        mode = path.stat().st_mode  # as the umask says, where safetensors makes files for their owner alone
        save_file(tensors, path, metadata)
        path.chmod(mode)


def _write_state(path: Path, state: dict[str, Any]) -> None:
    with (
        writing(path, RuntimeError),
        path.open("wb") as file,
    ):  # torch, given a name, would lose why it cannot be written
        torch.save(state, file)


def load(folder: Path, device: str = "cpu") -> Checkpoint:
    """Read the newest version.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If a file of it is damaged, or of a later format.
    """
    version = newest(folder)
    found = {path.stem: read_weights(path, device) for path in sorted(version.glob(f"*{WEIGHTS}"))}
    metadata = next((about for _, about in found.values()), {})
    return Checkpoint({name: weights for name, (weights, _) in found.items()}, metadata, _read_state(version / STATE))


def newest(folder: Path) -> Path:
    """The folder of the newest version.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = versions(folder)
    if not found:
        raise FileNotFoundError(
            f"no checkpoint in {folder}: a folder step-* with files of weights is needed. Give the folder of a run that "
            "reached its first checkpoint, or train it again."
        )
    return found[-1]


def weights_of(version: Path, name: str) -> Path:
    """The file of a network in a checkpoint."""
    return version / f"{name}{WEIGHTS}"


def load_into(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load tensors strictly, each process its part where the model is divided."""
    state, own = versioned(model, weights), model.state_dict()
    for name in state.keys() & own.keys():
        state[name] = divided(state[name], own[name])
    model.load_state_dict(state)


def versions(folder: Path) -> list[Path]:
    """Complete checkpoints, the oldest first."""
    return sorted(folder.glob("step-*"))


def read_weights(path: Path, device: str = "cpu") -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and metadata of a safetensors file that :func:`save` wrote.

    Raises:
        OSError: If there is no such file, or it may not be read.
        ValueError: If it is damaged, or of a later format.
    """
    check_readable(path)
    try:
        with safe_open(path, "pt", device=device) as file:
            metadata = {key: _parsed(value) for key, value in (file.metadata() or {}).items()}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:  # damaged bytes raise whatever they lead to
        raise _damaged(path, error) from error
    _check_format(path, metadata)
    return weights, metadata


def _parsed(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:  # what others write beside tensors need not be JSON
        return value


def _check_format(path: Path, found: Mapping[str, Any]) -> None:
    number = found.get("format", FORMAT)
    if isinstance(number, int) and number > FORMAT:
        raise ValueError(
            f"{path} has the format {number}, and this renorm reads formats up to {FORMAT}: the one that wrote it, or a later "
            "one, is needed. Upgrade renorm."
        )


def _read_state(path: Path) -> dict[str, Any]:
    check_readable(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        updated_state = updated(state, FORMAT)
    except Exception as error:  # damaged bytes raise whatever they lead to
        raise _damaged(path, error) from error
    _check_format(path, updated_state)
    return updated_state


def _damaged(path: Path, error: Exception) -> ValueError:
    why = "it is no state of a training" if isinstance(error, pickle.UnpicklingError) else str(error).partition("\n")[0]
    return ValueError(
        f"{path} cannot be read ({why or type(error).__name__}): a whole file as `renorm train` writes it is needed. "
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
    with writing(path):
        temporary.mkdir(parents=True)
    try:
        yield temporary
        with writing(path):
            for file in temporary.iterdir():
                _flush(file)
            os.rename(temporary, path)
            _flush(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # where there are versions
            path.parent.rmdir()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
