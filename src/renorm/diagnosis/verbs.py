"""What each verb would do with a model."""

from __future__ import annotations

from torch import nn

from renorm.banks import branches_of, check_called, of_other_kinds, site_tensors, unwrap
from renorm.surgery import plan


def verbs(model: nn.Module) -> dict[str, str]:
    """A verb and what it would do, or the reason for which it refuses."""
    return {"split_, sandwich_": _converting(model), "measure, adapt_": _observing(model)}


def _converting(model: nn.Module) -> str:
    branches = branches_of(model)
    if branches:
        return f"converted already, to the branches {', '.join(branches)}"
    try:
        found = plan(unwrap(model), None, None)
    except ValueError as error:
        return f"refused: {error}"
    left = f"; left alone: {', '.join(f'{name} ({why})' for name, why in found.left.items())}" if found.left else ""
    return f"convert {_sites(len(found.chosen))}{left}"


def refuses(model: nn.Module) -> str:
    """Why statistics cannot be measured and moved; empty where they can."""
    branches = branches_of(model)
    try:
        check_called(site_tensors(model, branches[0] if branches else None))
    except ValueError as error:
        return str(error)
    return ""


def _observing(model: nn.Module) -> str:
    if why := refuses(model):
        return f"refused: {why}"
    branches, others = branches_of(model), of_other_kinds(model)
    number = len(site_tensors(model, branches[0] if branches else None))
    return f"see {_sites(number)}" + (f"; of another kind, and left alone: {', '.join(others)}" if others else "")


def _sites(number: int) -> str:
    return f"{number} site{'s' if number != 1 else ''}"
