"""Classification where branches are views of one image, or the domains of the data. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renorm.recipes.classify.config import Config
    from renorm.recipes.classify.recipe import Classification, build, check, read

__all__ = ["Classification", "Config", "build", "check", "read"]

_MODULE_OF = {"Config": "config", **dict.fromkeys(("Classification", "build", "check", "read"), "recipe")}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
