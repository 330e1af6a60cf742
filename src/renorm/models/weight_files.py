"""Files of weights: reading them without running what is in them, and the errors of those that cannot be read."""

from __future__ import annotations

import argparse
import pathlib
import pickle
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from renorm.files import check_readable
from renorm.models.checkpoints import states_in

OURS = {  # what a file says of itself that holds something else, before the number of its format
    "renorm.bank": "a bank. Install it: renorm.install_(model, renorm.Bank.load(path)), on the command line --bank or --banks",
    "renorm.adapter": "the memory of a stream. Load it: renorm.Adapter.load",
}
TABLE = "what images add to a table, results.csv. Name the folder of the run as the model instead"


def read(path: Path) -> Mapping[str, Any]:
    """What a file of weights holds, on the CPU: tensors by name, perhaps among other values and under further names.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it cannot be read, or holds something else.
    """
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "is no file"
        raise FileNotFoundError(f"{path} {what}; weights are needed. Give the path of a .safetensors or .pt file.")
    check_readable(path)
    try:
        content = _read_safetensors(path) if is_safetensors(path) else _read_torch(path)
    except NotWeightsError:
        raise
    except Exception as error:  # damaged bytes raise whatever they lead to
        raise unreadable(path, error) from error
    if not isinstance(content, Mapping):
        raise no_state(path)
    return content


def is_weights(path: Path) -> bool:
    """Whether a file holds weights, by its own word where renorm wrote it; what cannot be read is none."""
    if not path.is_file():
        return False
    if not is_safetensors(path):
        return path.suffix != ".safetensors"
    try:
        with safe_open(path, "pt") as file:
            return other_than_weights(file.metadata() or {}) is None
    except SafetensorError:
        return False


def described_weights(path: Path) -> dict[str, str]:
    """What is in a file of weights, in words: of each state dict, how many tensors and numbers, of which types.

    Raises:
        ValueError: It cannot be read.
    """
    content, found = read(path), {"what": "weights"}
    for place, tensors in states_in(content):
        types = Counter(str(t.dtype).removeprefix("torch.") for t in tensors.values())
        numbers = sum(t.numel() for t in tensors.values())
        name = "/".join(place) or "tensors"
        found[name] = f"{len(tensors)}, {numbers:,} numbers, {', '.join(f'{n} {kind}' for kind, n in types.items())}"
        broken = [key for key, t in tensors.items() if t.is_floating_point() and not bool(t.isfinite().all())]
        if broken:
            found[f"{name}, not finite"] = ", ".join(broken[:3]) + (
                f" and {len(broken) - 3} more" if len(broken) > 3 else ""
            )
    if is_safetensors(path):
        with safe_open(path, "pt") as file:
            found |= {name: value for name, value in (file.metadata() or {}).items() if len(value) < 200}
    return found


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors do, whatever its name: the length of a header in JSON, and the header."""
    with path.open("rb") as file:
        start = file.read(9)
    return start[8:] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size


def other_than_weights(about: Mapping[str, Any]) -> str | None:
    """What a file that renorm wrote is by its metadata, and what it is for, where it holds no weights."""
    return TABLE if "protocol" in about else OURS.get(str(about.get("format")).partition("/")[0])


class NotWeightsError(ValueError):
    """A file that holds something else."""


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    with safe_open(path, "pt") as file:
        kind = other_than_weights(file.metadata() or {})
        if kind:
            raise NotWeightsError(f"{path} holds no weights: it is {kind}.")
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


def _read_torch(path: Path) -> Any:
    with (
        torch.serialization.safe_globals(_harmless()),
        path.open("rb") as file,
    ):  # by a name torch would guess what it is
        return torch.load(file, map_location="cpu", weights_only=True)


def _harmless() -> list[Any]:
    """Values that training scripts keep beside weights, whose making runs nothing: options, paths, NumPy's numbers."""
    import numpy as np

    made = np._core.multiarray if hasattr(np, "_core") else np.core.multiarray  # pyright: ignore[reportAttributeAccessIssue]
    dtypes = {type(np.dtype(code)) for code in "?bBhHiIlLqQefdFDSU"}
    functions = [
        (getattr(made, name), f"numpy.{core}.multiarray.{name}")
        for name in ("scalar", "_reconstruct")
        for core in ("core", "_core")
    ]
    # Python 3.13 says pathlib._local of the same classes.
    paths = [
        (pathlib.PurePath, f"{room}.{n}")
        for room in ("pathlib", "pathlib._local")
        for n in ("PosixPath", "WindowsPath")
    ]
    return [argparse.Namespace, np.ndarray, np.dtype, *dtypes, *functions, *paths, (_encoded, "_codecs.encode")]


def _encoded(text: str, encoding: str) -> bytes:
    """How pickles of the second protocol hold bytes; of all encodings they need this one."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"bytes as {encoding}")
    return text.encode(encoding)


def unreadable(path: Path, error: Exception) -> ValueError:
    """The error of a file that is damaged, or holds what is not read."""
    size, text = path.stat().st_size, str(error)
    foreign = re.search(r"GLOBAL ([\w.]+)", text)
    if foreign and isinstance(error, pickle.UnpicklingError):
        return NotWeightsError(
            f"{path} cannot be read as weights: it holds something else than tensors, {foreign[1]}, whose reading would run "
            "code. A state dict is needed. Save one where the file was made, if you trust it: "
            "torch.save(model.state_dict(), path)."
        )
    if "TorchScript" in text:
        return NotWeightsError(
            f"{path} cannot be read as weights: it is a TorchScript program. A state dict is needed. Make one of it: "
            "torch.save(torch.jit.load(path).state_dict(), other)."
        )
    return ValueError(
        f"{path} ({size} bytes) cannot be read as weights ({_reason(error)}). "
        "A whole safetensors file, or a whole file of torch.save, is needed. Copy or download it again, or save it with "
        "safetensors.torch.save_file(model.state_dict(), path)."
    )


def _reason(error: Exception) -> str:
    if isinstance(error, pickle.UnpicklingError):  # torch's own message advises to unpickle it all the same
        return "it is no file of torch.save"
    kind = "" if isinstance(error, SafetensorError) else f"{type(error).__name__}: "
    return f"{kind}{str(error).partition(chr(10))[0]}"


def no_state(path: Path) -> ValueError:
    """The error of a file without tensors that have names."""
    return ValueError(
        f"{path} holds no state dict. A dict of tensors is needed, by itself or within the checkpoint of a training script. "
        "Save it with torch.save(model.state_dict(), path)."
    )
