"""Weights from a file."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

M = TypeVar("M", bound=nn.Module)


def load_weights(model: M, path: str | Path) -> M:
    """Load a file of weights into a model, strictly: the keys and shapes of both must be the same.

    Nothing is unpickled. A file that is refused leaves the model as it was.

    Args:
        model: what the weights go into; it is also returned.
        path: a safetensors file, or a file of ``torch.save`` that holds tensors only (a state dict, or a dict with one
            under ``"state_dict"``).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file cannot be read, or holds another model's weights; the message names the keys.
    """
    path = Path(path)
    state = versioned(model, read(path))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        model.load_state_dict(before)
        raise another_model(model, path, str(error).splitlines()[1:]) from error
    if missing or unexpected:
        model.load_state_dict(before)
        differences = [f"only the model has {some(missing)}"] * bool(missing)
        differences += [f"only the file has {some(sorted(unexpected))}"] * bool(unexpected)
        raise another_model(model, path, differences)
    return model


def versioned(model: nn.Module, tensors: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Tensors as a state with its version, their own or that which the model writes: torchvision's MNASNet asks for one.

    Without counters of batches they are of an older version, and torch adds these.
    """
    state, own = OrderedDict(tensors), model.state_dict()
    if hasattr(tensors, "_metadata"):
        vars(state)["_metadata"] = vars(tensors)["_metadata"]
    elif all(key in state for key in own if key.endswith("num_batches_tracked")):
        vars(state)["_metadata"] = vars(own)["_metadata"]
    return state


def read(path: Path) -> dict[str, Tensor]:
    """The tensors of a file of weights, on the CPU."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is no file; weights are needed. Give the path of a .safetensors or .pt file.")
    try:
        state = load_file(path) if path.suffix == ".safetensors" else read_torch(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(
            f"{path} ({path.stat().st_size} bytes) cannot be read as weights ({reason(error)}). "
            "A whole safetensors file, or a torch file that holds tensors only, is needed. "
            "Copy or download it again, or save it with safetensors.torch.save_file(model.state_dict(), path)."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(
            f"{path} holds no state dict. A dict of tensors is needed, or one under the key 'state_dict'. "
            "Save it with torch.save(model.state_dict(), path)."
        )
    return state


def reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch's own message advises to unpickle it all the same
        return "it holds something else than tensors"
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def read_torch(path: Path) -> dict[str, Tensor]:
    content = torch.load(path, map_location="cpu", weights_only=True)
    return content["state_dict"] if isinstance(content, dict) and "state_dict" in content else content


def another_model(model: nn.Module, path: Path, differences: Iterable[str]) -> ValueError:
    return ValueError(
        f"{path} holds the weights of another model than this {type(model).__name__}: "
        f"{'; '.join(line.strip() for line in differences)}. Keys and shapes must be the same. "
        "Create the model the file was saved from, with the same number of classes."
    )


def some(keys: list[str], number: int = 4) -> str:
    more = f" and {len(keys) - number} more" if len(keys) > number else ""
    return ", ".join(keys[:number]) + more
