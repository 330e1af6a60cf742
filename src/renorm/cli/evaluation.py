"""What is told while a table is made, and of it when it is there; for every command that makes one."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.console import counted

if TYPE_CHECKING:
    import torch.distributed as dist
    from rich.progress import Progress, TaskID

    from renorm.cli.console import Console
    from renorm.evaluate import PreparedTable, Results


@dataclass(frozen=True)
class Place:
    """Where a table belongs.

    Args:
        model: Folder of a run, a file, or a model's name.
        out: Where to write it, if not into the run.
    """

    model: str
    out: Path | None = None

    @property
    def is_run(self) -> bool:
        """Whether the model is a run, which has a place for its table."""
        return (Path(self.model) / "config.json").exists()

    @property
    def path(self) -> Path | None:
        """Where the table is written, if anywhere."""
        return self.out or (Path(self.model) / "results.csv" if self.is_run else None)


def evaluated(
    prepared: PreparedTable, place: Place, console: Console, group: dist.ProcessGroup | None = None
) -> Results:
    """Make a table under a progress bar, show it and what it comes to, and write the report of a run."""
    from renorm.cli.pages import write_report

    for note in prepared.notes:
        console.say(note, style="dim")
    if place.path is not None:
        tell_former(place.path, prepared, console)
    with console.progress("cells") as bar:
        meter = PartMeter(console, bar, prepared)
        results = prepared.compute(place.path, group, meter, meter.part)
    show(results, prepared, place, console)
    if place.path is not None:
        console.done("table", place.path)
    main = group is None or group.rank() == 0
    if main and place.is_run and place.out is None:
        write_report(Path(place.model), console)
    return results


class PartMeter:
    """Shows how far a table is: a bar in a terminal, and in a log a line for each shift or bank."""

    def __init__(self, console: Console, bar: Progress, prepared: PreparedTable) -> None:
        self.console, self.bar, self.labels, self.unit = console, bar, list(prepared.parts), prepared.unit
        self.task: TaskID = bar.add_task("evaluate", total=None, numbers="")
        self.started, self.cells, self.total = time.perf_counter(), 0.0, 0

    def __call__(self, done: float, total: int, label: str) -> None:
        """Show one batch."""
        self.cells, self.total = done, total
        self.bar.update(self.task, completed=int(done), total=total, numbers=label)

    def part(self, label: str, numbers: Sequence[str]) -> None:
        """Tell a part that is done; a terminal has the bar."""
        if self.console.is_terminal:
            return
        seconds = time.perf_counter() - self.started
        left = seconds / self.cells * (self.total - self.cells) if self.cells else 0.0
        place = f"{self.unit} {self.labels.index(label) + 1}/{len(self.labels)}"
        self.console.log("  ".join([place, label, *numbers, f"{left:.0f} s left"]))


def show(results: Results, prepared: PreparedTable, place: Place, console: Console) -> None:
    """Print a table and what it comes to."""
    from renorm.report import terminal

    console.show(terminal.results(results, place.model))
    found = prepared.overall(results)
    if found:
        console.show()
        console.show(terminal.overall(found))
    console.found(rows=results.rows, overall=found)


def tell_former(path: Path, prepared: PreparedTable, console: Console) -> None:
    """Say what becomes of a table that is there already."""
    from renorm.evaluate import free_name

    found = prepared.former(path)
    if found.unlike:
        console.say(f"{path} was made otherwise ({found.unlike}): it is kept as {free_name(path)}", style="yellow")
    elif found.results is not None:
        has = f"{counted(len(found.results.banks), 'bank')} under {counted(len(found.results.shifts), 'shift')}"
        console.say(f"adding to {path}, which has {has} of this protocol", style="dim")
