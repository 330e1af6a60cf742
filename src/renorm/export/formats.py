"""The two kinds of files, as bytes, and what is found in them when they are opened again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram
from torch.utils._pytree import tree_leaves

from renorm.extras import require

ABOUT = "renorm.json"  # name of what a torch.export program says of itself
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")

About = Mapping[str, Any]


class Signature(NamedTuple):
    """What a program takes and gives.

    Args:
        inputs: names.
        output: name of the only one; several have none.
        free: of each input the dimensions of any size by their place, each a name and what the size is a multiple of, where that
            is above 1 twice that at least; None where there are none.
    """

    inputs: tuple[str, ...]
    output: str
    free: tuple[Mapping[int, tuple[str, int]] | None, ...]

    def dims(self) -> tuple[Any, ...]:
        """As torch.export takes them."""
        return tuple(free and {place: _dim(*named) for place, named in free.items()} for free in self.free)

    def axes(self) -> tuple[Any, ...]:
        """As ONNX has them."""
        return tuple(free and {place: name for place, (name, _) in free.items()} for free in self.free)


def _dim(name: str, step: int) -> Any:
    return Dim(name) if step == 1 else step * Dim(name, min=2)


LOGITS = Signature(("images",), "logits", ({0: ("batch", 1)},))
PICTURES = Signature(("noise",), "pictures", ({0: ("batch", 1)},))


class File(NamedTuple):
    """An exported model: its bytes, and what opening them again gives.

    Args:
        data: what to write.
        shapes: of the tensors inside.
        run: gives the outputs for inputs.
    """

    data: bytes
    shapes: dict[str, tuple[int, ...]]
    run: Callable[..., list[Tensor]]


def to_program(exported: ExportedProgram, about: About, signature: Signature) -> File:
    """As ``torch.export.load`` reads it."""
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={ABOUT: json.dumps(dict(about))})
    data = buffer.getvalue()
    again = torch.export.load(io.BytesIO(data))
    module = again.module()
    shapes = {name: tuple(tensor.shape) for name, tensor in again.state_dict.items()}
    return File(data, shapes, lambda *inputs: tree_leaves(module(*inputs)))


def to_onnx(exported: ExportedProgram, about: About, signature: Signature) -> File:
    """As ONNX, run by onnxruntime; norms may have become parts of the convolutions before them.

    Raises:
        ImportError: a library is missing.
        RuntimeError: the model has an operator that ONNX or onnxruntime lacks.
    """
    _, _, runtime = (require(name) for name in LIBRARIES)
    model = _converted(exported, signature).model_proto
    for key, value in about.items():
        model.metadata_props.add(key=f"renorm.{key}", value=value if isinstance(value, str) else json.dumps(value))
    data = model.SerializeToString()
    try:
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exceptions, of no common class
        raise _not_supported("onnxruntime", error) from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return File(data, shapes, lambda *inputs: _run(session, inputs))


def _converted(exported: ExportedProgram, signature: Signature) -> Any:
    outputs = len(exported.graph_signature.user_outputs)
    try:
        return torch.onnx.export(
            exported,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=list(signature.inputs),
            output_names=[signature.output] if outputs == 1 else None,
            dynamic_shapes=signature.axes(),
        )
    except Exception as error:
        raise _not_supported("ONNX", error) from error


def _run(session: Any, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    given = {place.name: x.numpy() for place, x in zip(session.get_inputs(), inputs, strict=True)}
    return [torch.from_numpy(output) for output in session.run(None, given)]


def _not_supported(what: str, error: Exception) -> RuntimeError:
    first = str(error).strip().splitlines()[0][:300]
    return RuntimeError(
        f"the model cannot be written as ONNX ({type(error).__name__}: {first}): {what} must have all of its operators. "
        "Write a .pt2 file instead, or replace that layer."
    )
