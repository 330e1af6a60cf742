"""What commands say, and how."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)


def invocation(program: str = "renorm") -> str:
    """This command, as a shell takes it."""
    return shlex.join([*program.split(), *sys.argv[1:]])


def say(text: str, style: str = "") -> None:
    """Print a line; markup in it is not interpreted."""
    console.print(text, style=style, markup=False)


def done(what: str, where: object) -> None:
    """Tell what was written where."""
    console.print(f"[green]✓[/] {what} [dim]{where}[/]", soft_wrap=True)


@contextmanager
def progress(unit: str) -> Iterator[Progress]:
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
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        yield bar
