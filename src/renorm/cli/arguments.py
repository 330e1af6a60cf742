"""What was typed: which command, its options, and those of a file. Wrong names are told with the nearest right one."""

from __future__ import annotations

import contextlib
import difflib
import io
import json
import re
import sys
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

import tyro

from renorm.cli.options import Subcommand

COMMANDS = (
    "demo",
    "train",
    "train-generator",
    "sample",
    "search",
    "rank",
    "evaluate",
    "compare",
    "adapt",
    "show",
    "predict",
    "doctor",
    "recalibrate",
    "fold",
    "export",
    "train-style",
    "stylize",
    "style",
    "corrupt",
    "report",
)
DESCRIPTION = (
    "Make the statistics of a network's normalization layers visible: train, evaluate, move, repair them. "
    "Errors are one message; --debug adds where they arose. --version prints the version."
)
KINDS = {int: "a whole number", float: "a number", bool: "True or False", Path: "a path", str: "a text"}
REFUSED = re.compile(
    r"(?:Error parsing|for argument)[\s│']*--([\w-]+)"
)  # what tyro says of a value, perhaps over two lines
MARKERS = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes)


class UsageError(ValueError):
    """Something was typed that cannot be meant."""


class Typed(NamedTuple):
    """A command as it was typed.

    Args:
        command: With its options.
        names: Those that were given, by typing or in a file.
    """

    command: Subcommand
    names: frozenset[str]


def parse(arguments: Sequence[str]) -> Typed:
    """The command that the arguments name.

    Raises:
        UsageError: For an unknown command or option, or a value that an option does not take.
        SystemExit: After help, or where an argument is missing.
    """
    if not arguments or arguments[0] == "-h" or arguments[0].startswith(("--help", "--tyro-")):
        help_of_all(arguments or ["--help"])
    name, *words = arguments
    check_command(name)
    kind = command_class(name)
    options = options_of(kind)
    check_options(name, words, options)
    words += words_of_file(name, words, options)
    return Typed(read(name, kind, words, options), frozenset(names_in(words)))


def command_class(name: str) -> type[Subcommand]:
    """The class of a command, of which no other is imported."""
    return getattr(import_module(f"renorm.cli.{name.replace('-', '_')}"), name.title().replace("-", ""))


def help_of_all(arguments: Sequence[str]) -> None:
    """Print the list of commands, or a shell's completion, and exit."""
    commands: Any = None
    for name in COMMANDS:
        named = Annotated[command_class(name), tyro.conf.subcommand(name, prefix_name=False)]
        commands = named if commands is None else commands | named
    tyro.cli(commands, args=list(arguments), prog="renorm", description=DESCRIPTION, config=MARKERS)


def check_command(name: str) -> None:
    """Refuse what is no command.

    Raises:
        UsageError: If it is none.
    """
    if name.startswith("-"):
        raise UsageError(
            f"{name} before a command: options come after it. Type a command first, as in renorm adapt ... {name}."
        )
    if name not in COMMANDS:
        raise UsageError(f"no command {name!r}: {meant(name, COMMANDS)}.")


def meant(name: str, known: Sequence[str]) -> str:
    """The nearest of some names, or all of them."""
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}? There are {', '.join(known)}" if close else f"one of {', '.join(known)} is needed"


def options_of(kind: type[Any]) -> dict[str, Any]:
    """The type of each option of a command by its name, those of its groups among them; positional ones are none."""
    return dict(_options(kind))


def _options(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    hints = get_type_hints(kind, include_extras=True)
    for each in fields(kind):
        hint = hints[each.name]
        if isinstance(hint, type) and is_dataclass(hint):
            yield from _options(hint)
        elif get_origin(hint) is not Annotated:  # as Positional is
            yield each.name, hint


def dashed(name: str) -> str:
    """An option as it is typed."""
    return f"--{name.replace('_', '-')}"


def name_of(word: str, options: Sequence[str] | dict[str, Any] = ()) -> str:
    """The option that a word names, be it with its value, or negated."""
    name = word.partition("=")[0].removeprefix("--").replace("-", "_")
    return name.removeprefix("no_") if name not in options else name


def names_in(words: Sequence[str]) -> list[str]:
    """The options that words name."""
    return [name_of(word) for word in words if word[:2] == "--"]


def check_options(command: str, words: Sequence[str], options: dict[str, Any]) -> None:
    """Refuse options that a command does not have.

    Raises:
        UsageError: If there is one.
    """
    for word in words:
        if word[:2] == "--" and word != "--help" and name_of(word, options) not in options:
            near = _near(name_of(word), options)
            raise UsageError(
                f"no option {word.partition('=')[0]} of renorm {command}: "
                f"{f'did you mean {near}?' if near else 'its options are needed.'} See renorm {command} --help."
            )


def _near(name: str, options: dict[str, Any]) -> str:
    close = difflib.get_close_matches(name, options, n=1)
    return dashed(close[0]) if close else ""


def words_of_file(command: str, words: Sequence[str], options: dict[str, Any]) -> list[str]:
    """What would be typed for the options of a file that were not."""
    path = _value_of("config", words)
    if path is None:
        return []
    given, typed = _read_file(Path(path)), {name_of(word, options) for word in words if word[:2] == "--"}
    found = []
    for key, value in given.items():
        name = key.replace("-", "_")
        if name not in options or name == "config":
            near = _near(name, options)
            raise UsageError(
                f"{path} names {key!r}, which is no option of renorm {command}: "
                f"{f'did you mean {near[2:]}?' if near else 'names of its options are needed.'} See renorm {command} --help."
            )
        if name not in typed:
            found += words_of(name, value)
    return found


def words_of(name: str, value: Any) -> list[str]:
    """An option and its value as they are typed.

    Example:
        >>> words_of("num_images", 32), words_of("keep_last", False), words_of("banks", ["weak", "strong"])
        (['--num-images', '32'], ['--no-keep-last'], ['--banks', 'weak', 'strong'])
    """
    if isinstance(value, bool):
        return [dashed(name) if value else dashed(f"no_{name}")]
    return [dashed(name), *map(str, value if isinstance(value, list) else [value])]


def _value_of(name: str, words: Sequence[str]) -> str | None:
    """The value of an option among words."""
    for word, following in pairwise([*words, ""]):
        if word == dashed(name):
            return following
        if word.startswith(f"{dashed(name)}="):
            return word.partition("=")[2]
    return None


def _read_file(path: Path) -> dict[str, Any]:
    readers: dict[str, Any] = {".toml": tomllib.loads, ".json": json.loads}
    if path.suffix not in readers:
        raise UsageError(f"--config {path}: a .toml or .json file is needed. Name one.")
    try:
        found = readers[path.suffix](path.read_text())
    except FileNotFoundError:
        raise FileNotFoundError(f"--config {path}: no such file, and one is needed. Check the path.") from None
    except ValueError as error:
        raise UsageError(f"--config {path} cannot be read ({error}): a whole file is needed. Correct it.") from error
    if not isinstance(found, dict):
        raise UsageError(f"--config {path} holds no names: an object of options by name is needed. Correct it.")
    return found


def read(name: str, kind: type[Subcommand], words: Sequence[str], options: dict[str, Any]) -> Subcommand:
    """A command from the words after its name."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(kind, args=list(words), prog=f"renorm {name}", config=MARKERS)
    except SystemExit:
        wrong = REFUSED.search(said.getvalue())
        option = name_of(wrong[1], options) if wrong else ""
        if option in options:
            raise UsageError(_unfit(name, option, words, options)) from None
        sys.stderr.write(said.getvalue())
        raise


def _unfit(command: str, name: str, words: Sequence[str], options: dict[str, Any]) -> str:
    first = next(i for i, word in enumerate(words) if word[:2] == "--" and name_of(word, options) == name)
    end = next((i for i in range(first + 1, len(words)) if words[i][:2] == "--"), len(words))
    others = [each for each in options if each != name]
    near = _near(name, dict.fromkeys(others))
    remedy = f"Correct it, or did you mean {near}?" if near else "Correct it."
    return f"{' '.join(words[first:end])}: {wanted(options[name])} is needed. {remedy} See renorm {command} --help."


def wanted(hint: Any) -> str:
    """What a type takes, in words.

    Example:
        >>> wanted(float | Literal["auto"] | None), wanted(tuple[int, ...])
        ('a number or auto', 'a whole number, or several')
    """
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    if get_origin(hint) is tuple:
        inner = [each for each in get_args(hint) if each is not Ellipsis]
        number = "or several" if Ellipsis in get_args(hint) else f"{len(inner)} of them"
        return f"{wanted(inner[0])}, {number}"
    if get_args(hint):
        return " or ".join(wanted(each) for each in get_args(hint) if each is not NoneType)
    return KINDS.get(hint, "another value")
