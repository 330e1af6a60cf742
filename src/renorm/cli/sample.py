"""``renorm sample``: pictures of a trained generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.recipes.generate import Way

EACH = 8  # pictures of a class where no number is given


@dataclass(frozen=True)
class Sample(Subcommand):
    """Write pictures of a generator's classes, each class as often as others: a sheet, a folder, or Parquet.

    The same seed gives the same noise whatever the classes, the bank and the file are.

    Args:
        sampled: Folder of a run of train-generator.
        out: What to write: a .png is a sheet with a row for each class, .parquet a table of images with labels, another name a
            new folder with one for each class.
        classes: Names of classes; by default all.
        bank: Statistics to make them with: recalibrated (the default), measured for the weights; running, as training left
            them; batch:N, of each N pictures themselves.
        truncation: Draw noise beyond this again, with statistics measured for such noise; smaller is less varied.
        num: Pictures, of all classes together; by default 8 of each.
        seed: Of the noise.
    """

    sampled: Annotated[Positional[Path], tyro.conf.arg(metavar="RUN")]
    out: Path
    classes: tuple[str, ...] = ()
    bank: str | None = None
    truncation: float | None = None
    num: int | None = None
    seed: int = 0

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.recipes.generate import check_place, in_turn, open_run, sampled, write_samples

        way = self.way()
        check_place(self.out)
        opened = open_run(self.sampled, self.common.device)
        numbers = opened.numbers(self.classes)
        labels = in_turn(numbers, EACH * len(numbers) if self.num is None else self.num)
        pixels = sampled(opened, way, labels, self.seed)
        about = {"command": console.invocation, "bank": way.name, "made": way.made, "seed": self.seed}
        write_samples(self.out, pixels, labels, opened.classes, about)
        names = [opened.classes[number] for number in numbers]
        console.say(f"{counted(len(labels), 'picture')} of {', '.join(names)} by {way.name}: {way.made}")
        if not opened.known:
            console.say(
                "the generator knows no classes: it has one norm for all, and rows do not differ by class", "yellow"
            )
        console.found(pictures=len(labels), classes=names, bank=way.name)
        console.done("samples", self.out)

    def way(self) -> Way:
        """How pictures are made.

        Raises:
            ValueError: If that cannot be.
        """
        from renorm.recipes.generate import way_of

        if self.num is not None and self.num < 1:
            raise ValueError(f"--num {self.num}: a number of pictures is needed. Name one, or leave it out.")
        if self.truncation is None:
            return way_of(self.bank or "recalibrated")
        if self.bank is not None:
            raise ValueError(
                f"--truncation {self.truncation:g} with --bank {self.bank}: truncated noise has statistics of its own, measured "
                f"for it. Leave one out."
            )
        return way_of(f"truncated:{self.truncation:g}")
