"""Weights from a file."""

from __future__ import annotations

import re
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from torch import Tensor, nn

from renorm.banks import unwrap
from renorm.models.checkpoints import WRAPPERS, Candidate, averages_in, candidates, meant, states_in, told
from renorm.models.weight_files import no_state, read
from renorm.notice import Notice

M = TypeVar("M", bound=nn.Module)
COUNTER = "num_batches_tracked"
MISMATCH = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[(.*?)\]\) .*?torch\.Size\(\[(.*?)\]\)")


def load_weights(model: M, path: str | Path, *, ema: bool = True) -> M:
    """Load a file of weights into a model, strictly: the keys and shapes of both must be the same.

    Checkpoints of training scripts are taken as they are (timm's, torchvision's, Lightning's, those of models inside
    ``torch.compile`` or DistributedDataParallel): the weights are what has the model's keys, under whatever name and behind
    whatever prefix. A :class:`renorm.notice.Notice` tells what was chosen or left out. Nothing is unpickled. A file that is
    refused leaves the model as it was.

    Args:
        model: what the weights go into; it is also returned.
        path: a safetensors file, or a file of ``torch.save`` that holds tensors and plain values.
        ema: where the file has averaged weights (EMA) beside those that were trained, take the averaged ones, as timm does.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: the file cannot be read, or holds another model's weights or those of several; the message names the keys.
    """
    path, inner = Path(path), unwrap(model)
    content = read(path)
    own = {WRAPPERS.sub("", key) for key in inner.state_dict()}
    found = candidates(content, {key for key in own if not key.endswith(COUNTER)} or own)  # averages often lack these
    state = meant(found, ema) if found else _of_another(path, content)
    if state is None:
        raise _several(path, found, ema)
    _load(inner, path, state.tensors)
    lines = told(state, found, some(state.left), list(averages_in(content)) if ema else ())
    if lines:
        warnings.warn(f"{path}: {'; '.join(lines)}.", Notice, stacklevel=2)
    return model


def tensors_of(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file by name, of the only state dict in it, or of the one that is called so.

    Raises:
        OSError: there is no such file, or it may not be read.
        ValueError: it cannot be read, or holds none.
    """
    return _of_another(path, read(path)).tensors


def _of_another(path: Path, content: Mapping[str, Any]) -> Candidate:
    """The state of a model that is not known: the largest."""
    found = [Candidate(place, "", tensors) for place, tensors in states_in(content)]
    if not found:
        raise no_state(path)
    return max(found, key=lambda state: len(state.tensors))


def _several(path: Path, found: Sequence[Candidate], ema: bool) -> ValueError:
    names = ", ".join(state.name for state in found)
    averaged = sum(state.averaged for state in found)
    if not ema and averaged == len(found) == 1:
        why, remedy = "holds averaged weights only", "Leave ema=False (--no-ema) out"
    else:
        why, remedy = (
            f"holds several weights of this model, {names}",
            "Save the one you mean by itself, with torch.save",
        )
    return ValueError(f"{path} {why}: one set of weights is needed. {remedy}.")


def _load(model: nn.Module, path: Path, tensors: Mapping[str, Tensor]) -> None:
    before = {key: value.clone() for key, value in model.state_dict().items()}
    own, state = {WRAPPERS.sub("", key): key for key in before}, versioned(model, tensors)
    renamed = OrderedDict((own.get(key, key), value) for key, value in state.items())
    if hasattr(state, "_metadata"):
        vars(renamed)["_metadata"] = vars(state)["_metadata"]
    try:
        differences = _differences(model, renamed)
    except BaseException:
        model.load_state_dict(before)
        raise
    if differences.lines:
        model.load_state_dict(before)
        raise another_model(model, path, differences)


class Differences(NamedTuple):
    """What hinders weights to be a model's, in words, and what to do."""

    lines: list[str]
    remedy: str


def _differences(model: nn.Module, state: OrderedDict[str, Tensor]) -> Differences:
    """Load what can be, and tell what cannot: shapes, then names, then what layers say themselves."""
    errors = ""
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        errors, missing, unexpected = str(error), [], []
    sizes = {key: (theirs, ours) for key, theirs, ours in MISMATCH.findall(errors)}
    others = dict.fromkeys(line.strip() for line in errors.splitlines()[1:] if not MISMATCH.search(line))
    if sizes and not others:
        fitting = OrderedDict((key, value) for key, value in state.items() if key not in sizes)
        missing, unexpected = model.load_state_dict(fitting, strict=False)
    missing = [key for key in missing if key not in sizes]
    lines = [f"{key} is ({theirs}) in the file and ({ours}) in the model" for key, (theirs, ours) in sizes.items()]
    lines = [*([some(lines, 2)] if lines else []), *list(others)[:2]]
    lines += [f"only the model has {some(missing)}"] * bool(missing)
    lines += [f"only the file has {some(sorted(unexpected))}"] * bool(unexpected)
    return Differences(lines, _remedy(sizes, bool(missing or unexpected or others)))


def _remedy(sizes: Mapping[str, tuple[str, str]], others: bool) -> str:
    """What makes the model that the weights are of; where only its last layer differs, its number of classes."""
    first = {theirs.partition(",")[0] for theirs, _ in sizes.values()}
    rest = {theirs.partition(",")[2] == ours.partition(",")[2] for theirs, ours in sizes.values()}
    if others or len({key.rpartition(".")[0] for key in sizes}) != 1 or len(first) != 1 or rest != {True}:
        return "Create the model the file was saved from, with the same number of classes."
    return f"Create the model with as many classes: num_classes={first.pop()}, on the command line --num-classes."


def versioned(model: nn.Module, tensors: Mapping[str, Tensor]) -> OrderedDict[str, Tensor]:
    """Tensors as a state with its version, their own or that which the model writes: torchvision's MNASNet asks for one.

    Without counters of batches they are of an older version, and torch adds these.
    """
    state, own = OrderedDict(tensors), model.state_dict()
    if hasattr(tensors, "_metadata"):
        vars(state)["_metadata"] = vars(tensors)["_metadata"]
    elif all(key in state for key in own if key.endswith(COUNTER)):
        vars(state)["_metadata"] = vars(own)["_metadata"]
    return state


def another_model(model: nn.Module, path: Path, found: Differences) -> ValueError:
    """The error of weights that do not fit."""
    return ValueError(
        f"{path} holds the weights of another model than this {type(model).__name__}: {'; '.join(found.lines)}. "
        f"Keys and shapes must be the same. {found.remedy}"
    )


def some(keys: Iterable[str], number: int = 4) -> str:
    """A few of some keys, and how many more there are."""
    keys = list(keys)
    more = f" and {len(keys) - number} more" if len(keys) > number else ""
    return ", ".join(keys[:number]) + more
