"""The options of ``renorm train``: every field of the nested groups under one flat name, and the way there and back.

A group that may be off has a field that turns it on, ``--mix`` or ``--ema``; that of attacks is on where a view is attacked or an
option of it is given.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass, make_dataclass
from functools import cache
from inspect import cleandoc
from typing import TYPE_CHECKING, Any, NamedTuple, get_args, get_type_hints

from renorm.recipes.classify.config import VIEW, Config
from renorm.recipes.options import option

REMEDIES = {"mix": "--mix exchange", "image": "--mix cutmix", "average": "--ema 0.999"}  # what turns a group on


class Leaf(NamedTuple):
    """A field of a group.

    Args:
        path: The names that lead to it from the configuration.
        type: Of its flat option.
        default: Of its flat option.
        switch: Whether it turns its group on.
        text: What it means.
    """

    path: tuple[str, ...]
    type: Any
    default: Any
    switch: bool
    text: str


@cache
def leaves() -> dict[str, Leaf]:
    """All fields of all groups, by their flat names."""
    return dict(_leaves(Config, (), ""))


def _leaves(kind: type[Any], path: tuple[str, ...], prefix: str) -> Iterator[tuple[str, Leaf]]:
    hints, texts = get_type_hints(kind), _texts(kind)
    for each in fields(kind):
        inner, place = group_of(hints[each.name]), (*path, each.name)
        if inner:
            yield from _leaves(inner, place, each.metadata.get("prefix", ""))
        else:
            yield each.metadata.get("flat", prefix + each.name), _leaf(each, hints[each.name], place, texts[each.name])


def _leaf(each: Field[Any], hint: Any, path: tuple[str, ...], text: str) -> Leaf:
    turns_on = each.default is MISSING
    return Leaf(path, hint | None if turns_on else hint, None if turns_on else each.default, turns_on, text)


def group_of(hint: Any) -> type[Any] | None:
    """The group that a type hint is of, be it one that may be off."""
    return next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and is_dataclass(each)), None)


def _texts(kind: type[Any]) -> dict[str, str]:
    """What a docstring says of each field."""
    found = re.findall(r"^    (\w+): ((?:.|\n(?:     |$))*)", cleandoc(kind.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


@cache
def _options() -> type[Any]:
    texts = "\n".join(f"    {name}: {leaf.text}" for name, leaf in leaves().items())
    return make_dataclass(
        "Options",
        [(name, leaf.type, field(default=leaf.default)) for name, leaf in leaves().items()],
        namespace={"__doc__": f"{(Config.__doc__ or '').splitlines()[0]}\n\nArgs:\n{texts}\n"},
        frozen=True,
    )


if TYPE_CHECKING:  # a class that is made has no type

    @dataclass(frozen=True, init=False)
    class Options:
        """Every option."""

        def __init__(self, **given: Any) -> None: ...

else:
    Options = _options()


def configured(**given: Any) -> Config:
    """The configuration of flat options.

    Raises:
        TypeError: For an option that there is not.
        ValueError: For an option of a group that is off.
    """
    return _built(Config, (), vars(_options()(**given)))


def _built(kind: type[Any], path: tuple[str, ...], values: Mapping[str, Any]) -> Any:
    mine = {leaf.path[-1]: values[name] for name, leaf in leaves().items() if leaf.path[:-1] == path}
    hints = get_type_hints(kind)
    for each in fields(kind):
        inner, place = group_of(hints[each.name]), (*path, each.name)
        if inner:
            mine[each.name] = None if _off(place, values) else _built(inner, place, values)
    return kind(**mine)


def _off(path: tuple[str, ...], values: Mapping[str, Any]) -> bool:
    """Whether a group is off; then none of its options may be given."""
    own = {name: leaf for name, leaf in leaves().items() if leaf.path[: len(path)] == path}
    given = [name for name, leaf in own.items() if values[name] != leaf.default]
    switches = [name for name, leaf in own.items() if leaf.switch and leaf.path[:-1] == path]
    if not switches:
        return path == ("attack",) and not given and VIEW not in (values["views"] or values["branches"])
    if values[switches[0]] is not None:
        return False
    if given:
        inner = own[given[0]].path[-2]
        raise ValueError(
            f"{option(given[0], values[given[0]])} with no {option(switches[0], True)}: it would do nothing. Leave it out, or "
            f"add {REMEDIES.get(inner) or REMEDIES[path[0]]}."
        )
    return True


def options_of(config: Config) -> dict[str, Any]:
    """A configuration as flat options, with their defaults for groups that are off."""
    return {name: _at(config, leaf) for name, leaf in leaves().items()}


def _at(config: Config, leaf: Leaf) -> Any:
    value: Any = config
    for name in leaf.path:
        if value is None:
            return leaf.default
        value = getattr(value, name)
    return value
