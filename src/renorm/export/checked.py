"""Write a plain model as a program that runs without renorm, once the program was seen to be equal to the model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from renorm.banks import unwrap
from renorm.export.formats import LIBRARIES, LOGITS, File, Signature, to_onnx, to_program
from renorm.extras import require
from renorm.files import write_atomically
from renorm.layers import quantized, scripted
from renorm.routing import route_of
from renorm.surgery import refuse_spread
from renorm.version import __version__

TOLERANCE = 1e-4  # between the model and the file, of float32 whose norms are fused into convolutions
LARGEST = 2**31 - 2**20  # bytes of weights: a file of protocol buffers holds 2 GiB, the graph included
FORMATS: dict[str, Callable[[ExportedProgram, Mapping[str, Any], Signature], File]] = {
    ".pt2": to_program,
    ".onnx": to_onnx,
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Args:
        path: where.
        batches: sizes of the batches on which the file was compared with the model.
        error: largest difference of an output, relative to the largest output where that is above 1.
        tensors: how many the file holds; ONNX fewer than the model, where norms are fused into convolutions.
        sides: height and width of the images of each of these batches, where they are free.
    """

    path: Path
    batches: tuple[int, ...]
    error: float
    tensors: int
    sides: tuple[tuple[int, int], ...] = ()

    def __repr__(self) -> str:
        sides = [f" of {height} x {width} pixels" for height, width in self.sides] or [""] * len(self.batches)
        batches = " and ".join(f"{size}{side}" for size, side in zip(self.batches, sides, strict=True))
        return (
            f"{self.path}: {self.tensors} tensors, equal to the model within {self.error:.1g} (tolerance {TOLERANCE:g}) on "
            f"batches of {batches}"
        )


def write(
    model: nn.Module,
    path: str | PathLike[str],
    probe: Tensor,
    *,
    about: Mapping[str, Any] | None = None,
    signature: Signature = LOGITS,
) -> Exported:
    """Write a plain model for batches of any size, in evaluation mode, as ``.pt2`` (torch.export) or ``.onnx``.

    The file is opened again before it gets its name, ``.onnx`` by onnxruntime, and compared with the model on the probe
    and on its first row alone. A former file is kept if anything is wrong.

    Args:
        model: without branches, on any device; the file runs on the CPU.
        path: ends in ``.pt2`` or ``.onnx``.
        probe: an input of two or more rows, which says the shape and type of all others.
        about: what the file says of itself: ``renorm.json`` among a program's extra files, ``renorm.KEY`` among ONNX's
            metadata.
        signature: what its input and output are called: those of a classifier, or ``PICTURES``.

    Raises:
        ValueError: another suffix, a model with branches, one that is sharded, scripted or quantized, a probe of one row, a
            forward that depends on the batch's size, or weights of more than 2 GiB for ONNX.
        ImportError: a library that ONNX needs is missing.
        RuntimeError: an operator is not supported, or the file is not equal to the model.
        OSError: the file cannot be written.

    Example:
        >>> import tempfile
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     exported = write(model, f"{folder}/model.pt2", torch.rand(4, 3, 8, 8))
        >>> exported.batches, exported.tensors, exported.error < 1e-5
        ((1, 4), 7, True)
    """
    path = check_name(path)
    model = _prepared(model, path)
    if len(probe) < 2:
        raise ValueError(
            f"a probe of {len(probe)} rows: two or more are needed, so that the batch's size is seen to be free. "
            "Repeat it: torch.cat([probe, probe])."
        )
    error, tensors = write_checked(model, path, [(probe,), (probe[:1],)], signature, about or {})
    return Exported(path, (1, len(probe)), error, tensors)


def write_checked(
    model: nn.Module,
    path: Path,
    probes: Sequence[tuple[Tensor, ...]],
    signature: Signature,
    about: Mapping[str, Any],
) -> tuple[float, int]:
    """Trace a model on the first probe, and write the file that is equal to it on all.

    Returns:
        The largest difference, and the number of tensors in the file.
    """
    probes = [tuple(x.detach().cpu().contiguous() for x in inputs) for inputs in probes]
    model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
    versions = {"renorm": __version__, "torch": str(torch.__version__)}
    with torch.no_grad():
        program = _traced(model, probes[0], signature)
        file = FORMATS[path.suffix](program, {**about, "versions": versions}, signature)
        check_tensors(model, file)
        error = float(torch.tensor([_difference(model, file, inputs) for inputs in probes]).max())  # NaN stays
    if not error <= TOLERANCE:
        raise RuntimeError(
            f"{path.name} would not be equal to the model: outputs differ by {error:.3g}, and {TOLERANCE:g} is allowed. Look "
            "for a forward that changes from call to call, such as one that draws random numbers."
        )
    write_atomically(path, file.data)
    return error, len(file.shapes)


def check_name(path: str | PathLike[str]) -> Path:
    """Refuse a path that names no format, and a format whose libraries are missing.

    Raises:
        ValueError: another suffix.
        ImportError: a library that ONNX needs is missing.
    """
    path = Path(path)
    if path.suffix not in FORMATS:
        raise ValueError(
            f"a model cannot be exported as {path.name}: a name that ends in .pt2 (torch.export) or .onnx is needed. Call it "
            f"{path.with_suffix('.pt2').name} or {path.with_suffix('.onnx').name}."
        )
    for name in LIBRARIES if path.suffix == ".onnx" else ():
        require(name)
    return path


def _prepared(model: nn.Module, path: Path) -> nn.Module:
    """The model itself, seen to be plain and not too large."""
    model = unwrap(model)
    route = route_of(model)
    if route is not None:
        raise ValueError(
            f"{type(model).__name__} has the branches {', '.join(route.branches)}: a plain model is needed, as a file has no "
            f"routes. Fold one of them: renorm.fold(model, {route.branches[0]!r})."
        )
    refuse_spread(model, "export that one")
    _check_own_code(model)
    size = sum(tensor.nbytes for tensor in model.state_dict().values())
    if path.suffix == ".onnx" and size > LARGEST:
        raise ValueError(
            f"{size / 2**30:.1f} GiB of weights in {path.name}: one ONNX file holds less than 2 GiB. Write a .pt2 file instead, "
            "or use torch.onnx.export with external_data=True."
        )
    return model


def _check_own_code(model: nn.Module) -> None:
    """Refuse a model part of which is a program already."""
    for name, module in model.named_modules():
        what = "scripted or traced" if scripted(module) else "quantized" if quantized(module) else ""
        if what:
            raise ValueError(
                f"{name or type(model).__name__} is part of a {what} model: one in floating point is needed whose own code "
                "can be followed. Export the model it was made from."
            )


def _traced(model: nn.Module, probe: tuple[Tensor, ...], signature: Signature) -> ExportedProgram:
    try:
        return torch.export.export(model, probe, dynamic_shapes=signature.dims(), strict=False)
    except Exception as error:  # tracing has exceptions of many classes
        first = str(error).strip().splitlines()
        raise ValueError(
            f"{type(model).__name__} cannot be traced for batches of any size ({type(error).__name__}: "
            f"{' '.join(first[:2])[:300]}). Its forward must not depend on the values or the number of its inputs. Change "
            "such a reshape or condition."
        ) from error


def check_tensors(model: nn.Module, file: File) -> None:
    """Refuse a file whose tensors, where they bear the name of a model's, are not of its shape: those of several branches.

    Raises:
        RuntimeError: there is one.
    """
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    wrong = [name for name, shape in file.shapes.items() if own.get(name, shape) != shape]
    if wrong:
        raise RuntimeError(
            f"the file has {wrong[0]} of shape {file.shapes[wrong[0]]} where the model has {own[wrong[0]]}: its tensors must be "
            "those of the plain model. Fold the model again."
        )


def _difference(model: nn.Module, file: File, inputs: tuple[Tensor, ...]) -> float:
    expected, found = tree_leaves(model(*inputs)), file.run(*inputs)
    if [y.shape for y in expected] != [y.shape for y in found]:
        return float("inf")
    pairs = [(y.double(), z.double()) for y, z in zip(expected, found, strict=True)]
    return float(torch.stack([(y - z).abs().max() / y.abs().max().clamp(min=1) for y, z in pairs]).max())
