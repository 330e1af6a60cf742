"""A stream's state as a file: tensors in safetensors, the rest as JSON in its metadata; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from renorm.adapt.change import Change
from renorm.adapt.memory import Look, Memory, SiteRecord, Weights
from renorm.adapt.reference import Reference
from renorm.adapt.state import State, StreamEvent, StreamSettings
from renorm.adapt.step import ADAPTED, Source
from renorm.banks import Branch, SiteTensors, fingerprint
from renorm.files import write_atomically

FORMAT = "renorm.adapter/2"
SCALARS = ("weight", "samples", "alike", "abstaining", "images", "resets", "positions")


@dataclass(frozen=True)
class StoredStream:
    """What a file holds."""

    settings: StreamSettings
    branch: Branch
    state: State
    identity: str
    reference: Reference | None = None


def identity(model: nn.Module, targets: Mapping[str, SiteTensors], source: Mapping[str, Source]) -> str:
    """A hash of the model as it is without the stream: its weights, and the source statistics and affine of its sites."""
    digest = hashlib.sha256((fingerprint(model) or "").encode())
    for name, own in source.items():
        site = targets[name]
        for tensor in (own.mean, own.var, site.weight, site.bias):
            value = None if tensor is None else tensor.detach().cpu().contiguous()
            digest.update(f"{name} {None if value is None else value.dtype}".encode())
            digest.update(b"" if value is None else value.view(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write(path: str | PathLike[str], stored: StoredStream) -> Path:
    """Write a file that is whole or not there at all; a former one is kept until then."""
    state = stored.state
    about = {
        "settings": asdict(stored.settings),
        "branch": stored.branch,
        "identity": stored.identity,
        "state": {key: getattr(state, key) for key in SCALARS},
        "memory": state.memory.weights,
        "block": state.block.weights,
        "change": state.change,
        "events": state.events,
        "reference": None if stored.reference is None else stored.reference.described(),
        "torch": torch.__version__,
    }
    tensors = _tensors("memory", state.memory) | _tensors("block", state.block)
    metadata = {"format": FORMAT, "renorm": json.dumps(about)}
    return write_atomically(path, safetensors.torch.save(tensors, metadata))


def read(path: str | PathLike[str]) -> StoredStream:
    """Read a file.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not an adapter's, truncated, or with broken numbers.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no adapter at {path}. It is a file made by Adapter.save. Check the path.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise ValueError(f"its format is {metadata.get('format')!r}, not {FORMAT!r}")
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        return _stored(json.loads(metadata["renorm"]), tensors)
    except (safetensors.SafetensorError, ValueError, OSError, LookupError, TypeError) as error:
        raise refused(path, error) from error


def _stored(about: dict[str, Any], tensors: dict[str, Tensor]) -> StoredStream:
    for key, tensor in tensors.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{key} is not finite")
    state = State(
        _memory("memory", about["memory"], tensors),
        _memory("block", about["block"], tensors),
        **{key: about["state"][key] for key in SCALARS},
        change=None if about["change"] is None else Change(*about["change"]),
        events=tuple(StreamEvent(*event) for event in about["events"]),
    )
    usual = about.get("reference")
    reference = None if usual is None else Reference.read(usual)
    return StoredStream(StreamSettings(**about["settings"]), about["branch"], state, about["identity"], reference)


def check_fits(path: str | PathLike[str], state: State, source: Mapping[str, Source]) -> None:
    """Refuse records that are not those of the model's sites."""
    for memory in (state.memory, state.block):
        named = {key.partition(":")[2]: record for key, record in memory.records.items() if key.startswith(ADAPTED)}
        wrong = [site for site in named if site not in source or named[site].mean.shape != source[site].mean.shape]
        reached = [site for site in source if ADAPTED + site in state.positions]
        missing = [site for site in reached if memory.weights.images and site not in named]
        if memory.weights.images and not reached:
            raise refused(path, "no site is known to be reached")
        if wrong or missing:
            raise refused(path, f"site {(wrong or missing)[0]!r} is missing or of another size")


def refused(path: str | PathLike[str], why: object) -> ValueError:
    """The error of a file that cannot be used."""
    return ValueError(
        f"{path} cannot be read as an adapter: {why}. It may be truncated, or another kind of file. "
        f"Start a new one by renorm.Adapter(model), or load an earlier file."
    )


def _tensors(part: str, memory: Memory) -> dict[str, Tensor]:
    groups: dict[str, SiteRecord | Look] = {"look": memory.look} if memory.look is not None else {}
    groups |= {f"record.{key}": record for key, record in memory.records.items()}
    return {
        f"{part}.{group}.{name}": tensor.cpu().contiguous().clone()
        for group, values in groups.items()
        for name, tensor in values._asdict().items()
    }


def _memory(part: str, weights: list[Any], tensors: Mapping[str, Tensor]) -> Memory:
    def fields(group: str, names: tuple[str, ...]) -> list[Tensor]:
        return [tensors[f"{part}.{group}.{name}"] for name in names]

    keys = [key for key in tensors if key.startswith(f"{part}.record.") and key.endswith(".mean")]
    sites = [key.removeprefix(f"{part}.record.").removesuffix(".mean") for key in keys]
    look = Look(*fields("look", Look._fields)) if f"{part}.look.mean" in tensors else None
    return Memory(
        Weights(*weights), look, {site: SiteRecord(*fields(f"record.{site}", SiteRecord._fields)) for site in sites}
    )
