"""renorm: normalization statistics as something you can see, choose, train, move, mix and repair.

A *site* is a normalization layer of a model, a *branch* a named population of inputs, a *bank* what every site uses for one
branch, a *route* which branch each sample belongs to. Verbs that end in an underscore change the model in place and return
a report with ``undo()``.
"""

import importlib
from typing import TYPE_CHECKING, Any

from renorm import functional, layers, routing
from renorm.banks import Bank, adapt_, blend, install_, measure, merge, prediction_time, recalibrate_, using
from renorm.routing import frozen_statistics, interleave, route, route_, stack, unstack
from renorm.surgery import add_branch_, fold, sandwich_, split_

if TYPE_CHECKING:
    from renorm.mix import CutMix, Mix, Mixup, MomentExchange
    from renorm.stream.adapter import Adapter
    from renorm.stream.tent import Tent

__version__ = "0.1.0"
__all__ = [
    "Adapter",
    "Bank",
    "CutMix",
    "Mix",
    "Mixup",
    "MomentExchange",
    "Tent",
    "adapt_",
    "add_branch_",
    "blend",
    "fold",
    "frozen_statistics",
    "functional",
    "install_",
    "interleave",
    "layers",
    "measure",
    "merge",
    "prediction_time",
    "recalibrate_",
    "route",
    "route_",
    "routing",
    "sandwich_",
    "split_",
    "stack",
    "unstack",
    "using",
]

_LAZY = ("attacks", "corruptions", "data", "evaluate", "export", "metrics", "models", "recipes", "report")
_LAZY_NAMES = {
    "Adapter": "stream.adapter",
    "CutMix": "mix",
    "Mix": "mix",
    "Mixup": "mix",
    "MomentExchange": "mix",
    "Tent": "stream.tent",
}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return importlib.import_module(f"renorm.{name}")
    if name in _LAZY_NAMES:
        return getattr(importlib.import_module(f"renorm.{_LAZY_NAMES[name]}"), name)
    raise AttributeError(f"module 'renorm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *_LAZY])
