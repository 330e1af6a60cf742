"""``renorm compare``: what two tables differ by."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from collections.abc import Sequence

    from renorm.cli.console import Console
    from renorm.evaluate import Results

SHOWN = 5


@dataclass(frozen=True)
class Compare(Subcommand):
    """Print what B has more than A, paired by image, with 95 % intervals; unlike tables are refused.

    Models, banks and how they were trained may differ. The images, how they were corrupted and the seed must not.

    Args:
        a: Folder of a run, or a results.csv.
        b: Likewise; the same one to compare its banks.
        banks: The bank of A and the bank of B; by default all that both have.
        shifts: Names of shifts to compare; by default all that both have.
        ignore: Fields that may differ all the same: scale, rounding, view, attack, seed,
            normalization.
        assert_equal: Instead see that two runs, or two tables, are the same to the last bit, say of two versions of the code; the
            exit status is 1 where they are not.
    """

    a: Positional[Path]
    b: Positional[Path]
    banks: tuple[str, str] | None = None
    shifts: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    assert_equal: bool = False

    @property
    def computes(self) -> bool:
        """Whether a model runs."""
        return False

    def run(self, console: Console) -> None:
        """Run the command."""
        if self.assert_equal:
            self.equal(console)
            return
        a, b = read(self.a), read(self.b)
        if a.only() and b.only():
            self.accuracies(a, b, console)
        else:
            self.measures(a, b, console)

    def equal(self, console: Console) -> None:
        """Say that the two are equal, or refuse them with what differs."""
        from renorm.recipes import unlike

        if self.banks or self.shifts or self.ignore:
            raise ValueError(
                "--assert-equal with --banks, --shifts or --ignore: it looks at everything there is. Leave one or the other out."
            )
        found = unlike(self.a, self.b)
        if found:
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            raise ValueError(
                f"{self.a} and {self.b} are not equal: {'; '.join(found[:SHOWN])}{more}. They must be the same to the last bit. "
                "Look at the first difference, or leave --assert-equal out to compare what they are worth."
            )
        console.say(f"{self.a} and {self.b} are equal, bit for bit")
        console.found(a=self.a, b=self.b, equal=True)

    def tell(self, a: Results, b: Results, found: Sequence[Any], console: Console) -> None:
        """Say what is compared, and what differs that may."""
        from renorm.evaluate import remarks

        notes = remarks(a.protocol, b.protocol)
        console.say(f"A = {self.a}: {a.protocol.model}\nB = {self.b}: {b.protocol.model}")
        for note in notes:
            console.say(note, style="dim")
        console.found(a=self.a, b=self.b, notes=notes, differences=found)

    def accuracies(self, a: Results, b: Results, console: Console) -> None:
        """Show what tables bank x shift differ by."""
        from renorm.evaluate import differences
        from renorm.report import terminal

        found = differences(a, b, self.banks, self.ignore, self.shifts)
        self.tell(a, b, found, console)
        for banks in dict.fromkeys(each.banks for each in found):
            console.show()
            shifts = [(each.shift, each.severity) for each in found if each.banks == banks]
            console.show(terminal.differences(a, b, banks, shifts))
        counts = sorted({len(a.hits[each.banks[0], each.shift, each.severity]) for each in found})
        images = counted(counts[0], "image") if len(counts) == 1 else f"{counts[0]:,} to {counts[-1]:,} images"
        console.say(f"accuracy in %, differences in points, paired bootstrap 95 % intervals over {images}", style="dim")

    def measures(self, a: Results, b: Results, console: Console) -> None:
        """Show what tables bank x measure differ by."""
        from renorm.evaluate import measure_differences
        from renorm.report import terminal

        if self.shifts:
            raise ValueError("--shifts with tables of measures: they have none. Leave it out.")
        found = measure_differences(a, b, self.banks, self.ignore)
        self.tell(a, b, found, console)
        for banks in dict.fromkeys(each.banks for each in found):
            console.show()
            console.show(terminal.measure_differences([each for each in found if each.banks == banks]))
        console.say("paired bootstrap 95 % intervals, of measures that are means over images", style="dim")


def read(path: Path) -> Results:
    """The table of a run or a file."""
    from renorm.evaluate import read_results
    from renorm.train import Run

    return read_results(Run(path).results if path.is_dir() else path)
