"""Changes of the data a model is evaluated under: made, attacked, the domains of the data, or images that are stored."""

from renorm.shifts.attacks import Adversary, Threat, is_attack, seeds_of
from renorm.shifts.domains import domains
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
