"""Options of a recipe: every field of its nested groups under one flat name, and the way there and back.

A configuration is a frozen dataclass. Its fields are options, and groups of options: dataclasses themselves, of which one that is
None is off. An option's name is that of its field after the prefix of its group. Fields say the rest by their ``metadata``:

- ``prefix`` of a group: what names of its options begin with.
- ``flat``: the whole name of an option, where it is another.
- ``formerly``: its name in runs from before.
- ``off``: the value of an option that turns its group off. An option without a default does so by None.
- ``on`` of a group without such an option: says of all flat options whether it is on though none of its own is given.
- ``remedy`` of a group: what is typed to turn it on.

Nothing here needs torch, so that the command line shows its options at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from functools import cache, partial
from inspect import cleandoc
from types import NoneType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeVar, get_args, get_origin, get_type_hints

from renorm.recipes.options import option


class Configuration(Protocol):
    """Names its recipe."""

    recipe: ClassVar[str]


C = TypeVar("C", bound=Configuration)
Path = tuple[str, ...]  # the names that lead from a configuration to an option or a group


class Leaf(NamedTuple):
    """An option.

    Args:
        path: The names that lead to it from the configuration.
        type: Of its flat option.
        default: Of its flat option; ``MISSING`` where it must be given.
        text: What it means.
        switch: Whether it turns its group on and off.
        metadata: Of its field.
    """

    path: Path
    type: Any
    default: Any
    text: str
    switch: bool
    metadata: Mapping[str, Any]


@cache
def leaves(kind: type[Any]) -> dict[str, Leaf]:
    """All options of a class of configurations, by their flat names."""
    return dict(_leaves(kind, (), "", optional=False))


def _leaves(kind: type[Any], path: Path, prefix: str, *, optional: bool) -> Iterator[tuple[str, Leaf]]:
    hints, texts = get_type_hints(kind), _texts(kind)
    for each in fields(kind):
        hint, place = hints[each.name], (*path, each.name)
        if inner := group_of(hint):
            yield from _leaves(inner, place, each.metadata.get("prefix", ""), optional=NoneType in get_args(hint))
        else:
            name = each.metadata.get("flat", prefix + each.name)
            yield name, _leaf(each, hint, place, texts.get(each.name, ""), optional=optional)


def _leaf(each: Field[Any], hint: Any, path: Path, text: str, *, optional: bool) -> Leaf:
    default = each.default if each.default_factory is MISSING else each.default_factory()
    if default is MISSING and optional:
        return Leaf(path, hint | None, None, text, True, each.metadata)
    return Leaf(path, hint, default, text, optional and "off" in each.metadata, each.metadata)


@cache
def groups(kind: type[Any]) -> dict[Path, Mapping[str, Any]]:
    """The metadata of all groups of a class of configurations, by their paths, outer ones first."""
    return dict(_groups(kind, ()))


def _groups(kind: type[Any], path: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        if inner := group_of(hints[each.name]):
            yield (*path, each.name), each.metadata
            yield from _groups(inner, (*path, each.name))


def group_of(hint: Any) -> type[Any] | None:
    """The group that a type hint is of, be it one that may be off."""
    return next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and is_dataclass(each)), None)


def _texts(kind: type[Any]) -> dict[str, str]:
    """What a docstring says of each field."""
    found = re.findall(r"^    (\w+): ((?:.|\n(?:     |$))*)", cleandoc(kind.__doc__ or ""), re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


class Flat:
    """All options of a recipe beside each other, for its command: ``class Options(Flat, of=Config)`` has and explains each."""

    if TYPE_CHECKING:

        def __init__(self, **given: Any) -> None: ...

    def __init_subclass__(cls, of: type[Any]) -> None:
        cls.__annotations__ = {name: leaf.type for name, leaf in leaves(of).items()}
        for name, leaf in leaves(of).items():
            setattr(cls, name, field(default=leaf.default))
            if _mutable(leaf):
                setattr(cls, name, field(default_factory=partial(deepcopy, leaf.default)))
        texts = "\n".join(f"    {name}: {leaf.text}" for name, leaf in leaves(of).items())
        cls.__doc__ = f"{cls.__doc__}\n\nArgs:\n{texts}\n"
        dataclass(frozen=True, kw_only=True)(cls)


def _mutable(leaf: Leaf) -> bool:
    return leaf.default.__class__.__hash__ is None


def _defaults(kind: type[Any]) -> dict[str, Any]:
    return {name: deepcopy(leaf.default) if _mutable(leaf) else leaf.default for name, leaf in leaves(kind).items()}


def configured(kind: type[C], **given: Any) -> C:
    """The configuration of flat options.

    Raises:
        TypeError: For an option that there is not, or without one that is needed.
        ValueError: For an option of a group that is off.
    """
    values = _defaults(kind) | given
    if wrong := sorted(values.keys() - leaves(kind).keys()):
        raise TypeError(f"{kind.recipe} has no option {wrong[0]!r}: one of {', '.join(leaves(kind))} is needed.")
    if missing := [name for name, value in values.items() if value is MISSING]:
        raise TypeError(f"{kind.recipe} without {', '.join(missing)}: that is needed. Name it.")
    for path, idle in _off(kind, values).items():
        if idle:
            raise ValueError(_would_do_nothing(kind, path, idle[0], values))
    return _built(kind, values)


def _built(kind: type[C], values: Mapping[str, Any]) -> C:
    return _group(kind, kind, (), values)


def _group(root: type[Any], kind: type[Any], path: Path, values: Mapping[str, Any]) -> Any:
    mine = {leaf.path[-1]: values[name] for name, leaf in leaves(root).items() if leaf.path[:-1] == path}
    hints, off = get_type_hints(kind), _off(root, values)
    for each in fields(kind):
        inner, place = group_of(hints[each.name]), (*path, each.name)
        if inner:
            mine[each.name] = None if place in off else _group(root, inner, place, values)
    return kind(**mine)


def _off(kind: type[Any], values: Mapping[str, Any]) -> dict[Path, list[str]]:
    """The groups that are off, with those of their options that are given all the same."""
    found = {}
    for path, metadata in groups(kind).items():
        own = {name: leaf for name, leaf in leaves(kind).items() if leaf.path[: len(path)] == path}
        switch = _switch(kind, path)
        given = [name for name, leaf in own.items() if values[name] != leaf.default and name != switch]
        if switch is not None:
            off = values[switch] == own[switch].metadata.get("off")
        else:
            off = "on" in metadata and not given and not metadata["on"](values)
        if off:
            found[path] = given
    return found


def _switch(kind: type[Any], path: Path) -> str | None:
    """The option that turns a group on and off."""
    return next((name for name, leaf in leaves(kind).items() if leaf.switch and leaf.path[:-1] == path), None)


def _would_do_nothing(kind: type[Any], path: Path, name: str, values: Mapping[str, Any]) -> str:
    switch, place = _switch(kind, path) or "", leaves(kind)[name].path
    state = f"no {option(switch, True)}" if values[switch] is None else f"{option(switch, True)} {values[switch]}"
    inner = [place[:length] for length in range(len(place) - 1, 0, -1)]  # the nearest that says how
    remedy = next(found for group in inner if (found := groups(kind)[group].get("remedy")))
    return f"{option(name, values[name])} with {state}: it would do nothing. Leave it out, or add {remedy}."


def options_of(config: Any) -> dict[str, Any]:
    """A configuration as flat options, with what turns them off, or their defaults, for groups that are off."""
    return {name: _at(config, leaf) for name, leaf in leaves(type(config)).items()}


def _at(config: Any, leaf: Leaf) -> Any:
    value = config
    for name in leaf.path:
        if value is None:
            return leaf.metadata.get("off") if leaf.switch else leaf.default
        value = getattr(value, name)
    return value


def read_config(kind: type[C], about: Mapping[str, Any]) -> C:
    """The configuration that a run's config.json, or the description in a checkpoint, holds; the defaults where it has none.

    Raises:
        ValueError: If it has options that are not known here.
    """
    saved: Mapping[str, Any] = about.get("config", {})
    named = [path[0] for path in groups(kind) if path[0] in saved]  # an option of before may be called like a group
    in_groups = any(name not in leaves(kind) or isinstance(saved[name], Mapping) for name in named)
    return _read(kind, saved) if in_groups or not groups(kind) else _read_flat(kind, saved)


def _read(kind: type[Any], saved: Mapping[str, Any]) -> Any:
    hints = get_type_hints(kind)
    _check_known(saved, [each.name for each in fields(kind)])
    return kind(**{name: _value(hints[name], value) for name, value in saved.items()})


def _value(hint: Any, value: Any) -> Any:
    if (inner := group_of(hint)) and value is not None:
        return _read(inner, value)
    tuples = any(get_origin(each) is tuple for each in (hint, *get_args(hint)))
    return tuple(value) if tuples and isinstance(value, list) else value


def _read_flat(kind: type[Any], saved: Mapping[str, Any]) -> Any:
    """From before options had groups."""
    found = leaves(kind)
    renamed = {leaf.metadata["formerly"]: name for name, leaf in found.items() if "formerly" in leaf.metadata}
    named = {renamed.get(name, name): value for name, value in saved.items()}
    _check_known(named, found)
    values = _defaults(kind) | {name: _value(found[name].type, value) for name, value in named.items()}
    if missing := [name for name, value in values.items() if value is MISSING]:
        raise ValueError(
            f"the configuration lacks {', '.join(missing)}: a whole one, as training wrote it, is needed. Copy it again."
        )
    return _built(kind, values)


def _check_known(saved: Mapping[str, Any], known: Any) -> None:
    if unknown := [name for name in saved if name not in known]:
        raise ValueError(
            f"the configuration has options that this renorm does not know ({', '.join(map(repr, unknown))}): the one that "
            "wrote it, or a later one, is needed. Upgrade renorm."
        )
