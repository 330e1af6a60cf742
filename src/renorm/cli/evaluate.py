"""``renorm evaluate``: the table bank x shift."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import console, done, invocation, progress, say
from renorm.cli.model import ModelOptions
from renorm.recipes.classify.score import Evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch.distributed as dist

    from renorm.evaluate import Former, Protocol, Results
    from renorm.shifts import Shift


@dataclass(frozen=True)
class Evaluate:
    """Evaluate every bank of a model under every shift: accuracy with 95 % intervals, likelihood, calibration.

    The table is written shift by shift: after a stop, the same command goes on where it was, and further banks or shifts are
    added to it. A table that was made otherwise is kept under another name. Under torchrun the processes share the shifts.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        asked: What to evaluate.
        alexnet: Whose errors of AlexNet the mean corruption error is relative to: imagenet, cifar10 or cifar100; by default
            those of the data, if these are among them.
        out: Where to write the table, a .csv; by default results.csv of the run.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    asked: Evaluation = field(default_factory=Evaluation)
    alexnet: str | None = None
    out: Path | None = None
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self) -> None:
        """Run the command, in every process that torchrun started."""
        from renorm.evaluate import ranks
        from renorm.train import join

        self.check()
        processes = join()
        console.quiet = not processes.main
        try:
            results = self.results(ranks.meet() if processes.count > 1 else None)
            if processes.main:
                self.show(results)
                self.report()
        finally:
            processes.leave()

    def check(self) -> None:
        """Refuse at once what would otherwise be found at the end."""
        from renorm.evaluate import check_table_name
        from renorm.metrics import alexnet
        from renorm.recipes.classify import score

        if self.out is not None:
            check_table_name(self.out)
        if self.alexnet is not None:
            alexnet(self.alexnet)
        score.check(self.asked)

    def results(self, group: dist.ProcessGroup | None) -> Results:
        """What was asked for of the table, which is made under a progress bar and written shift by shift."""
        from renorm.evaluate import read_former
        from renorm.recipes.classify import score

        weights = f" {self.source.weights}" if self.source.weights else ""
        named = self.source.open(self.model)
        prepared = score.prepare(named, self.asked, model=f"{self.model}{weights}", command=invocation())
        if self.alexnet is not None:
            check_standard(prepared.shifts)
        tell(prepared.protocol, prepared.shifts)
        if self.path is not None:
            tell_former(self.path, read_former(self.path, prepared.protocol, prepared.shifts))
        with progress("cells") as bar:
            task = bar.add_task("evaluate", total=None, numbers="")

            def show(done: float, total: int, shift: Shift) -> None:
                bar.update(task, completed=int(done), total=total, numbers=shift.label)

            return score.score(prepared, self.path, group, show)

    def show(self, results: Results) -> None:
        """Print the table and what it comes to."""
        from renorm.cli.overview import overview
        from renorm.report import tables

        console.print(tables.results(results, f"{self.model}: bank x shift"))
        summary = overview(results, self.alexnet)
        if summary is not None:
            console.print()
            console.print(summary)

    def report(self) -> None:
        """Write a run's report, and tell what was written where."""
        from renorm.cli.report import Report

        if self.path is not None:
            done("table", self.path)
        if self.is_run and self.out is None:
            Report((Path(self.model),), table=False).run()

    @property
    def is_run(self) -> bool:
        """Whether the model is a run, which has a place for its table."""
        return (Path(self.model) / "config.json").exists()

    @property
    def path(self) -> Path | None:
        """Where the table is written, if anywhere."""
        return self.out or (Path(self.model) / "results.csv" if self.is_run else None)


def tell(protocol: Protocol, chosen: Sequence[Shift]) -> None:
    """Say what is evaluated, before it takes its time."""
    what = f"{protocol.data.images:,} images of {protocol.data.name}, " if protocol.data else ""
    scale = f", severities for {protocol.scale} pixels" if protocol.scale else ""
    banks = " ".join(protocol.banks)
    say(f"{what}{len(chosen)} shifts{scale}, banks {banks}, seed {protocol.seed}", style="dim")


def tell_former(path: Path, found: Former) -> None:
    """Say what becomes of a table that is there already."""
    from renorm.evaluate import free_name

    if found.unlike:
        say(f"{path} was made otherwise ({found.unlike}): it is kept as {free_name(path)}", style="yellow")
    elif found.results is not None:
        say(f"adding to {path}, which has {len(found.results.shifts)} shifts of this protocol", style="dim")


def check_standard(chosen: Sequence[Shift]) -> None:
    """Refuse a mean corruption error of some of the corruptions."""
    from renorm.corruptions import SEVERITIES, STANDARD

    there = {shift.label for shift in chosen}
    missing = [label for name in STANDARD for n in SEVERITIES if (label := f"{name} {n}") not in there]
    if missing:
        raise ValueError(
            f"{', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''} are not among the shifts: a mean corruption error "
            "needs the fifteen standard corruptions in five severities. Add --shifts standard, or leave --alexnet out."
        )
