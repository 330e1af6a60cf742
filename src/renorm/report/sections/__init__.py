"""Sections that pages are made of: of one run, of several side by side. Each module is imported when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renorm.report.sections import adapted, examples, gradients, run, several

__all__ = ["adapted", "examples", "gradients", "run", "several"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
