"""What is told while a table is made, and of it when it is there; for every command that makes one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.console import counted

if TYPE_CHECKING:
    import torch.distributed as dist
    from rich.progress import Progress, TaskID

    from renorm.cli.console import Console
    from renorm.evaluate import Protocol, Results
    from renorm.recipes import Evaluation, NamedModel
    from renorm.shifts import Shift


@dataclass(frozen=True)
class Place:
    """Where a table belongs.

    Args:
        model: Folder of a run, a file, or a model's name.
        title: What the model is called in the table.
        out: Where to write it, if not into the run.
        alexnet: Whose errors the mean corruption error is relative to, if not those that fit.
    """

    model: str
    title: str
    out: Path | None = None
    alexnet: str | None = None

    @property
    def is_run(self) -> bool:
        """Whether the model is a run, which has a place for its table."""
        return (Path(self.model) / "config.json").exists()

    @property
    def path(self) -> Path | None:
        """Where the table is written, if anywhere."""
        return self.out or (Path(self.model) / "results.csv" if self.is_run else None)


def evaluated(
    named: NamedModel, asked: Evaluation, place: Place, console: Console, group: dist.ProcessGroup | None = None
) -> Results:
    """Make a table under a progress bar, show it and what it comes to, and write the report of a run."""
    from renorm.cli.pages import write_report
    from renorm.data import labels_in_words
    from renorm.evaluate import check_standard
    from renorm.recipes.classify import score

    prepared = score.prepare(named, asked, model=place.title, command=console.invocation)
    if place.alexnet is not None:
        check_standard(prepared.shifts)
    tell(prepared.protocol, prepared.shifts, console)
    if prepared.images is not None and (labels := labels_in_words(prepared.images)):
        console.say(labels, style="dim")
    if place.path is not None:
        tell_former(place.path, prepared.protocol, prepared.shifts, console)
    with console.progress("cells") as bar:
        meter = ShiftMeter(console, bar, prepared.shifts)
        results = score.score(prepared, place.path, group, meter, meter.shift)
    show(results, place, console)
    if place.path is not None:
        console.done("table", place.path)
    main = group is None or group.rank() == 0
    if main and place.is_run and place.out is None:
        write_report(Path(place.model), console)
    return results


class ShiftMeter:
    """Shows how far a table is: a bar in a terminal, and in a log a line per shift."""

    def __init__(self, console: Console, bar: Progress, shifts: Sequence[Shift]) -> None:
        self.console, self.bar, self.labels = console, bar, [shift.label for shift in shifts]
        self.task: TaskID = bar.add_task("evaluate", total=None, numbers="")
        self.started, self.cells, self.total = time.perf_counter(), 0.0, 0

    def __call__(self, done: float, total: int, shift: Shift) -> None:
        """Show one batch."""
        self.cells, self.total = done, total
        self.bar.update(self.task, completed=int(done), total=total, numbers=shift.label)

    def shift(self, shift: Shift, accuracies: Mapping[str, float]) -> None:
        """Tell a shift that is done; a terminal has the bar."""
        if self.console.is_terminal:
            return
        number = self.labels.index(shift.label) + 1
        seconds = time.perf_counter() - self.started
        left = seconds / self.cells * (self.total - self.cells) if self.cells else 0.0
        words = [f"shift {number}/{len(self.labels)}", shift.label, *(f"{n} {a:.1%}" for n, a in accuracies.items())]
        self.console.log("  ".join([*words, f"{left:.0f} s left"]))


def show(results: Results, place: Place, console: Console) -> None:
    """Print a table and what it comes to."""
    from renorm.evaluate import overview
    from renorm.report import terminal

    console.show(terminal.results(results, f"{place.model}: bank x shift"))
    found = overview(results, place.alexnet)
    if found:
        console.show()
        console.show(terminal.overall(found))
    console.found(rows=results.rows, overall=found)


def tell(protocol: Protocol, chosen: Sequence[Shift], console: Console) -> None:
    """Say what is evaluated, before it takes its time."""
    data = protocol.data
    what = f"{counted(data.images, 'image')} of {data.name}, " if data else ""
    scale = f", severities for {protocol.scale} pixels" if protocol.scale else ""
    banks = " ".join(protocol.banks)
    if protocol.preprocessing:
        console.say(protocol.preprocessing, style="dim")
    console.say(f"{what}{counted(len(chosen), 'shift')}{scale}, banks {banks}, seed {protocol.seed}", style="dim")


def tell_former(path: Path, protocol: Protocol, chosen: Sequence[Shift], console: Console) -> None:
    """Say what becomes of a table that is there already."""
    from renorm.evaluate import free_name, read_former

    found = read_former(path, protocol, chosen)
    if found.unlike:
        console.say(f"{path} was made otherwise ({found.unlike}): it is kept as {free_name(path)}", style="yellow")
    elif found.results is not None:
        has = counted(len(found.results.shifts), "shift")
        console.say(f"adding to {path}, which has {has} of this protocol", style="dim")
