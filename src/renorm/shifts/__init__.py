"""Changes of the data a model is evaluated under: made, attacked, the domains of the data, or images that are stored.

Each name is loaded when it is used first: the settings of a corrupted copy are shown by the command line without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renorm.shifts.attacks import Adversary, Threat, is_attack, seeds_of
    from renorm.shifts.domain import domains
    from renorm.shifts.manifest import Manifest
    from renorm.shifts.settings import CorruptionSettings
    from renorm.shifts.shift import DEFAULT, Rounding, Shift, is_made, make_shifts
    from renorm.shifts.stored import StoredShift, read_shifts
    from renorm.shifts.write import write_shifts

__all__ = [
    "DEFAULT",
    "Adversary",
    "CorruptionSettings",
    "Manifest",
    "Rounding",
    "Shift",
    "StoredShift",
    "Threat",
    "domains",
    "is_attack",
    "is_made",
    "make_shifts",
    "read_shifts",
    "seeds_of",
    "write_shifts",
]

_MODULE_OF = {
    "DEFAULT": "shift",
    "Adversary": "attacks",
    "CorruptionSettings": "settings",
    "Manifest": "manifest",
    "Rounding": "shift",
    "Shift": "shift",
    "StoredShift": "stored",
    "Threat": "attacks",
    "domains": "domain",
    "is_attack": "attacks",
    "is_made": "shift",
    "make_shifts": "shift",
    "read_shifts": "stored",
    "seeds_of": "attacks",
    "write_shifts": "write",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
