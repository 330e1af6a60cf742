"""``renorm adapt --curve``: accuracy against the number of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.evaluate import Curve
    from renorm.recipes.classify import CurveOptions, PreparedCurve
    from renorm.shifts import Shift


@dataclass(frozen=True)
class Drawing:
    """What --curve draws. Started again after it was stopped, the same command goes on where it was.

    Args:
        methods: What is compared: auto, replacement, a prior such as 16, each perhaps with :mean or :variance after it to move
            that alone; the source is always among them. By default auto 16 64 replacement.
        sizes: Numbers of images to adapt to; by default 1 4 8 16 32 64 128, as far as there are images that are not judged.
        draws: How often the images are drawn; each draw adapts anew, and all are judged on the same other images.
        shifts: Corruptions of the images, as renorm evaluate takes them; by default the images as they are.
        out: Picture to write, a .png; the numbers stand beside it as .csv. By default curve.png of the run, or here.
    """

    methods: tuple[str, ...] = ()
    sizes: tuple[int, ...] = ()
    draws: int = 5
    shifts: tuple[str, ...] = ()
    out: Path | None = None

    def path(self, model: str) -> Path:
        """Where the picture is written."""
        is_run = (Path(model) / "config.json").exists()
        return self.out or (Path(model) / "curve.png" if is_run else Path("curve.png"))

    def options(self, num_judged: int, seed: int) -> CurveOptions:
        """What is compared, judged on so many images."""
        from renorm.recipes.classify import CurveOptions

        return CurveOptions(self.methods, self.sizes, self.draws, self.shifts, num_judged, seed)


def draw(prepared: PreparedCurve, path: Path, console: Console) -> None:
    """Measure under a progress bar, write the picture and the numbers, and show a table of them."""
    from renorm.recipes.classify import draw_curve

    partial = prepared.partial(path)
    if partial.exists():
        console.say(f"going on with what is in {partial}", style="dim")
    with console.progress("draws") as bar:
        task = bar.add_task("adapt", total=None, numbers="")

        def show(done: float, total: int, shift: Shift) -> None:
            bar.update(task, completed=int(done), total=total, numbers=shift.label)

        found = draw_curve(prepared, path, show)
    tell(found, console)
    console.done("curve", path)
    console.done("its numbers", path.with_suffix(".csv"), "curve_numbers")


def tell(found: Curve, console: Console) -> None:
    """Show the numbers, all shifts together."""
    from renorm.evaluate import curve_rows
    from renorm.report import by_images, terminal

    names = list(dict.fromkeys(shift.name for shift in found.shifts))
    title = f"mean over {len(names)} shifts" if len(names) > 1 else by_images.title(found, names[0])
    console.show(terminal.by_images(found))
    console.found(curve=[row for method in found.plan.methods for row in curve_rows(found, method)])
    console.say(f"{title}; {found.caption}", style="dim")
