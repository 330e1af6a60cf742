"""Checkpoints as they were written before they carried their format, when a run had one network and one optimizer."""

from typing import Any


def updated(state: dict[str, Any], format: int) -> dict[str, Any]:
    """The state of a training as it is written now."""
    if "format" in state:
        return state
    rest = {key: value for key, value in state.items() if key != "optimizer"}
    return {"format": format, "optimizers": {"model": state["optimizer"]}, **rest}
