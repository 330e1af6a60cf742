"""Checkpoints of training scripts: which of the tensors in them are a model's, by their names alone.

Scripts keep weights under a name (``state_dict``, ``model``, ``model_ema``), and wrappers put a prefix before every key
(``module.``, ``_orig_mod.``, ``net.``). Neither is looked up in a list: the tensors are those that have the model's names.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor

# Parts that torch's wrappers put anywhere in a key.
WRAPPERS = re.compile(r"(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")


class Candidate(NamedTuple):
    """Some tensors of a checkpoint.

    Args:
        place: The names that lead to them.
        prefix: What stands before the model's keys.
        tensors: By keys of the model.
        left: Keys beside them, which are not the model's.
        wrapped: Whether torch's wrappers were in the keys.
    """

    place: tuple[str, ...]
    prefix: str
    tensors: Mapping[str, Tensor]
    left: Sequence[str] = ()
    wrapped: bool = False

    @property
    def name(self) -> str:
        """Where it is, in words."""
        return "/".join((*self.place, *filter(None, [self.prefix.rstrip(".")]))) or "the whole file"

    @property
    def averaged(self) -> bool:
        """Whether its place is called EMA, as scripts call exponential moving averages of the weights."""
        return any(map(is_average, (*self.place, self.prefix)))


def is_average(name: str) -> bool:
    """Whether a name says EMA.

    Example:
        >>> is_average("state_dict_ema"), is_average("modelEma"), is_average("schema")
        (True, True, False)
    """
    return "ema" in (word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name))


def states_in(
    content: Mapping[Any, Any], place: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Every dict of a checkpoint that has tensors under names, with the names that lead to it."""
    tensors: dict[str, Tensor] = OrderedDict()
    for key, value in content.items():
        if isinstance(key, str) and isinstance(value, Tensor):
            tensors[key] = value
        elif isinstance(key, str) and isinstance(value, Mapping):
            yield from states_in(value, (*place, key))
    if tensors:
        if hasattr(content, "_metadata"):
            vars(tensors)["_metadata"] = vars(content)["_metadata"]
        yield place, tensors


def candidates(content: Mapping[str, Any], own: Collection[str]) -> list[Candidate]:
    """The states that have most of a model's keys, behind one prefix each; none where no key is the model's.

    A Lightning checkpoint says which of its dicts is the model's state; beside it are averages that callbacks keep.
    """
    lightning = "pytorch-lightning_version" in content
    found: list[tuple[int, Candidate]] = []
    for place, tensors in states_in(content):
        if lightning and place[:1] != ("state_dict",) and not any(map(is_average, place)):
            continue
        keys = {key: WRAPPERS.sub("", key) for key in tensors}
        counts = Counter(prefix for key in keys.values() for prefix in prefixes(key, own))
        found += [(count, _behind(place, prefix, tensors, keys)) for prefix, count in counts.items()]
    most = max((count for count, _ in found), default=0)
    return [state for count, state in found if count == most]


def averages_in(content: Any, place: str = "") -> Iterator[str]:
    """The outermost places of a checkpoint that are called EMA and have tensors in them, under whatever names."""
    entries = content.items() if isinstance(content, Mapping) else ()
    for key, value in entries:
        here = f"{place}/{key}" if place else str(key)
        if is_average(str(key)) and _holds_tensors(value):
            yield here
        else:
            yield from averages_in(value, here)


def _holds_tensors(value: Any) -> bool:
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, (list, tuple)) else ()
    return any(isinstance(each, Tensor) or _holds_tensors(each) for each in inside)


def prefixes(key: str, own: Collection[str]) -> Iterator[str]:
    """What may stand before a key of the model in this one."""
    starts = [0, *(dot.end() for dot in re.finditer(r"\.", key))]
    return (key[:start] for start in starts if key[start:] in own)


def _behind(place: tuple[str, ...], prefix: str, tensors: dict[str, Tensor], keys: Mapping[str, str]) -> Candidate:
    inside = {key: plain.removeprefix(prefix) for key, plain in keys.items() if plain.startswith(prefix)}
    state: dict[str, Tensor] = OrderedDict((plain, tensors[key]) for key, plain in inside.items())
    if hasattr(tensors, "_metadata"):
        versions = {f"{WRAPPERS.sub('', f'{key}.')}": value for key, value in vars(tensors)["_metadata"].items()}
        bare = {
            key.removeprefix(prefix).rstrip("."): value for key, value in versions.items() if key.startswith(prefix)
        }
        vars(state)["_metadata"] = OrderedDict(bare)
    return Candidate(
        place, prefix, state, [key for key in keys if key not in inside], any(k != p for k, p in keys.items())
    )


def meant(found: Sequence[Candidate], ema: bool) -> Candidate | None:
    """The one that is meant: the only one, or of averaged and other weights the averaged ones if ``ema``; None if unclear."""
    if len(found) > 1 or not ema:
        found = [state for state in found if state.averaged is ema]
    return found[0] if len(found) == 1 else None


def told(state: Candidate, found: Sequence[Candidate], left: str, averages: Sequence[str] = ()) -> list[str]:
    """What was chosen that nobody asked for.

    Args:
        state: What was taken.
        found: What there was to choose from.
        left: A few of the keys beside it, in words.
        averages: Places of averaged weights that could not be chosen.
    """
    others, lines = [other.name for other in found if other is not state], []
    if others and state.averaged:
        of = f"of {state.name} and {', '.join(others)} the averaged weights, {state.name}, are taken"
        lines.append(f"{of}, as timm does (--no-ema, ema=False: the others)")
    if averages and not any(other.averaged for other in found):
        lines.append(
            f"what it calls {', '.join(averages)} is not taken, as it lacks tensors of the model or names them otherwise; "
            f"{state.name} is"
        )
    if state.prefix:
        lines.append(f"the prefix {state.prefix!r} of its keys is taken off")
    elif state.wrapped:
        lines.append("the parts of torch's wrappers in its keys are taken off")
    if state.left:
        lines.append(f"{left} beside it: left out, as the model has no such tensor")
    return lines
