"""The two kinds of files, as bytes, and what is found in them when they are opened again."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.export import ExportedProgram
from torch.utils._pytree import tree_leaves

from renorm.extras import require

INPUT, OUTPUT, BATCH = "images", "logits", "batch"
ABOUT = "renorm.json"  # name of what a torch.export program says of itself
LIBRARIES = ("onnx", "onnxscript", "onnxruntime")

About = Mapping[str, Any]


class File(NamedTuple):
    """An exported model: its bytes, and what opening them again gives.

    Args:
        data: what to write.
        shapes: of the tensors inside.
        run: gives the outputs for an input.
    """

    data: bytes
    shapes: dict[str, tuple[int, ...]]
    run: Callable[[Tensor], list[Tensor]]


def to_program(exported: ExportedProgram, about: About) -> File:
    """As ``torch.export.load`` reads it."""
    buffer = io.BytesIO()
    torch.export.save(exported, buffer, extra_files={ABOUT: json.dumps(dict(about))})
    data = buffer.getvalue()
    again = torch.export.load(io.BytesIO(data))
    module = again.module()
    shapes = {name: tuple(tensor.shape) for name, tensor in again.state_dict.items()}
    return File(data, shapes, lambda x: tree_leaves(module(x)))


def to_onnx(exported: ExportedProgram, about: About) -> File:
    """As ONNX, run by onnxruntime; norms may have become parts of the convolutions before them.

    Raises:
        ImportError: a library is missing.
        RuntimeError: the model has an operator that ONNX or onnxruntime lacks.
    """
    _, _, runtime = (require(name) for name in LIBRARIES)
    model = _converted(exported).model_proto
    for key, value in about.items():
        model.metadata_props.add(key=f"renorm.{key}", value=value if isinstance(value, str) else json.dumps(value))
    data = model.SerializeToString()
    try:
        session = runtime.InferenceSession(data, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has its own exceptions, of no common class
        raise _not_supported("onnxruntime", error) from error
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    return File(data, shapes, lambda x: _run(session, x))


def _converted(exported: ExportedProgram) -> Any:
    outputs = len(exported.graph_signature.user_outputs)
    names: Sequence[str] | None = [OUTPUT] if outputs == 1 else None
    try:
        return torch.onnx.export(
            exported,
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[INPUT],
            output_names=names,
            dynamic_shapes=({0: BATCH},),
        )
    except Exception as error:
        raise _not_supported("ONNX", error) from error


def _run(session: Any, x: Tensor) -> list[Tensor]:
    return [torch.from_numpy(output) for output in session.run(None, {session.get_inputs()[0].name: x.numpy()})]


def _not_supported(what: str, error: Exception) -> RuntimeError:
    first = str(error).strip().splitlines()[0][:300]
    return RuntimeError(
        f"the model cannot be written as ONNX ({type(error).__name__}: {first}): {what} must have all of its operators. "
        "Write a .pt2 file instead, or replace that layer."
    )
