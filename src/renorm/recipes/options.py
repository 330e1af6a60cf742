"""Options as the command line has them, for messages."""

from collections.abc import Collection, Iterator
from dataclasses import MISSING, fields, is_dataclass
from typing import Any


def option(name: str, value: object) -> str:
    """A field as the command line has it.

    Example:
        >>> option("attack_start", False), option("ema_images", 64)
        ('--no-attack-start', '--ema-images')
    """
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def changed(options: Any, *, known: Collection[str] = ()) -> str:
    """Those of a group of options that are not as they are by default, as the command line has them; inner groups' too.

    Args:
        options: The group.
        known: Names of those that are left out.
    """
    return ", ".join(_changed(options, known))


def _changed(options: Any, known: Collection[str]) -> Iterator[str]:
    for each in fields(options):
        value = getattr(options, each.name)
        if each.name in known:
            continue
        if is_dataclass(value):
            yield from _changed(value, known)
        elif value != (each.default if each.default_factory is MISSING else each.default_factory()):
            yield option(each.name, value)
