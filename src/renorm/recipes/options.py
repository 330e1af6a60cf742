"""Options as the command line has them, for messages."""

from dataclasses import fields
from typing import Any


def option(name: str, value: object) -> str:
    """A field as the command line has it.

    Example:
        >>> option("attack_start", False), option("ema_images", 64)
        ('--no-attack-start', '--ema-images')
    """
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def changed(options: Any) -> str:
    """Those of a group of options that are not as they are by default, as the command line has them."""
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return ", ".join(
        option(each.name, values[each.name]) for each in fields(options) if values[each.name] != each.default
    )
