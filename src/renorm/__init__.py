"""renorm: normalization statistics as something you can see, choose, train, move, mix and repair.

A *site* is a normalization layer of a model, a *branch* a named population of inputs, a *bank* what every site uses for one
branch, a *route* which branch each sample belongs to. Verbs that end in an underscore change the model in place and return
a report with ``undo()``.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from renorm.version import __version__ as __version__

if TYPE_CHECKING:
    from renorm import (
        adapt,
        attacks,
        banks,
        corruptions,
        data,
        diagnosis,
        evaluate,
        export,
        functional,
        layers,
        metrics,
        mix,
        models,
        recipes,
        report,
        routing,
        shifts,
        surgery,
        testing,
        train,
    )
    from renorm.adapt import Adaptation, Adapter, Recentring, Reference, Tent, adapt_, prediction_time, recenter_
    from renorm.banks import Bank, blend, install_, measure, merge, recalibrate_, using
    from renorm.diagnosis import diagnose
    from renorm.layers import frozen_statistics
    from renorm.mix import CutMix, Mix, Mixup, MomentExchange
    from renorm.routing import interleave, route, route_, stack, unstack
    from renorm.surgery import add_branch_, fold, sandwich_, split_

__all__ = [
    "Adaptation",
    "Adapter",
    "Bank",
    "CutMix",
    "Mix",
    "Mixup",
    "MomentExchange",
    "Recentring",
    "Reference",
    "Tent",
    "adapt",
    "adapt_",
    "add_branch_",
    "attacks",
    "banks",
    "blend",
    "corruptions",
    "data",
    "diagnose",
    "diagnosis",
    "evaluate",
    "export",
    "fold",
    "frozen_statistics",
    "functional",
    "install_",
    "interleave",
    "layers",
    "measure",
    "merge",
    "metrics",
    "mix",
    "models",
    "prediction_time",
    "recalibrate_",
    "recenter_",
    "recipes",
    "report",
    "route",
    "route_",
    "routing",
    "sandwich_",
    "shifts",
    "split_",
    "stack",
    "surgery",
    "testing",
    "train",
    "unstack",
    "using",
]

# Importing renorm loads nothing; a room is loaded when it, or a name of it, is used first.
_ROOMS = (
    "adapt",
    "attacks",
    "banks",
    "corruptions",
    "data",
    "diagnosis",
    "evaluate",
    "export",
    "functional",
    "layers",
    "metrics",
    "mix",
    "models",
    "recipes",
    "report",
    "routing",
    "shifts",
    "surgery",
    "testing",
    "train",
)
_ROOM_OF = {
    "Adaptation": "adapt",
    "Adapter": "adapt",
    "Bank": "banks",
    "CutMix": "mix",
    "Mix": "mix",
    "Mixup": "mix",
    "MomentExchange": "mix",
    "Recentring": "adapt",
    "Reference": "adapt",
    "Tent": "adapt",
    "adapt_": "adapt",
    "add_branch_": "surgery",
    "blend": "banks",
    "diagnose": "diagnosis",
    "fold": "surgery",
    "frozen_statistics": "layers",
    "install_": "banks",
    "interleave": "routing",
    "measure": "banks",
    "merge": "banks",
    "prediction_time": "adapt",
    "recalibrate_": "banks",
    "recenter_": "adapt",
    "route": "routing",
    "route_": "routing",
    "sandwich_": "surgery",
    "split_": "surgery",
    "stack": "routing",
    "unstack": "routing",
    "using": "banks",
}


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f"renorm.{name}")
    if name in _ROOM_OF:
        value = getattr(import_module(f"renorm.{_ROOM_OF[name]}"), name)
        globals()[name] = value  # found without this function from now on
        return value
    raise AttributeError(f"module 'renorm' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
