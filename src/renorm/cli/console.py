"""What a command says, and how: text for people, one JSON object for programs, or nothing."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

import rich.console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from renorm.progress import listening


class Console:
    """Where a command speaks. It is made once, from what was typed, and handed down.

    Args:
        invocation: What was typed, as a shell takes it.
        typed: Names of the options that were typed or stand in a file of options, be it with their defaults.
        quiet: Whether to say nothing.
        json: Whether standard output is one JSON object; text goes to standard error then.
    """

    def __init__(
        self,
        invocation: str = "renorm",
        typed: Collection[str] = (),
        *,
        quiet: bool = False,
        json: bool = False,
    ) -> None:
        self.invocation, self.typed, self.json = invocation, frozenset(typed), json
        self._text = rich.console.Console(highlight=False, stderr=json, quiet=quiet)
        self._found: dict[str, Any] = {}
        self._written: dict[str, str] = {}

    @property
    def is_terminal(self) -> bool:
        """Whether somebody watches, so that a bar may move."""
        return self._text.is_terminal

    def leave_to_others(self) -> None:
        """Say nothing from now on, as processes do that are not the main one."""
        self._text.quiet, self.json = True, False

    def say(self, text: str, style: str = "") -> None:
        """Print a line; markup in it is not interpreted."""
        self._text.print(text, style=style, markup=False)

    def show(self, what: object = "") -> None:
        """Print what rich knows to draw; markup in text is interpreted."""
        self._text.print(what)

    def head(self, text: str, style: str = "blue") -> None:
        """Start a chapter."""
        self._text.print()
        self._text.rule(text, align="left", style=style)

    def log(self, text: str) -> None:
        """Print a line that stays, above a bar where there is one, and is not cut where it is long."""
        self._text.print(text, markup=False, soft_wrap=True)

    def done(self, what: str, where: object, key: str = "") -> None:
        """Tell what was written where.

        Args:
            what: In words.
            where: Its path, or what stands for it.
            key: Of its path in the JSON object; by default ``what`` with underscores.
        """
        self._text.print(f"[green]✓[/] {what} [dim]{where}[/]", soft_wrap=True)
        self._written[key or what.replace(" ", "_")] = str(where)

    @contextmanager
    def notices(self) -> Iterator[None]:
        """Say in a line each what was chosen that nobody asked for; other warnings stay as they are."""
        from renorm.notice import Notice

        with warnings.catch_warnings():
            warnings.simplefilter("always", Notice)
            usual = warnings.showwarning

            def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
                if issubclass(category, Notice):
                    self._text.print(f"note: {message}", style="yellow", markup=False, soft_wrap=True)
                else:
                    usual(message, category, *where, **more)

            warnings.showwarning = show
            yield

    def found(self, **numbers: Any) -> None:
        """Keep numbers for the JSON object."""
        self._found |= numbers

    @contextmanager
    def hearing(self) -> Iterator[None]:
        """Print how far the block's long work is."""
        with listening(lambda far: self.log(str(far))):
            yield

    def finish(self) -> None:
        """Print the JSON object, if one is wanted: the command, what was found, what was written."""
        if self.json:
            whole = {"command": self.invocation, **self._found, "written": self._written}
            print(json.dumps(plain(whole), allow_nan=False, ensure_ascii=False))

    @contextmanager
    def progress(self, unit: str) -> Iterator[Progress]:
        """A progress bar with a line of numbers under ``numbers``; where there is no terminal it shows nothing."""
        columns = (
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[numbers]}"),
            TimeElapsedColumn(),
            TextColumn("eta"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=self._text, disable=not self.is_terminal) as bar:
            yield bar


def counted(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "shift"), counted(2000, "image")
        ('1 shift', '2,000 images')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def plain(value: Any) -> Any:
    """A value as JSON has it: paths are text, tuples lists, records objects, and numbers that are not finite null.

    Example:
        >>> plain({"prior": float("inf"), "out": Path("a")})
        {'prior': None, 'out': 'a'}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return plain(value._asdict())  # pyright: ignore[reportAttributeAccessIssue]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, Path) else value
