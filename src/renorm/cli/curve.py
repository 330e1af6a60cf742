"""``renorm adapt --curve``: accuracy against the number of images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from renorm.cli.console import Console
    from renorm.data import Images
    from renorm.evaluate import Curve, CurvePlan, Method, Protocol
    from renorm.recipes import NamedModel
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

    def draw(
        self,
        named: NamedModel,
        images: Images,
        branch: str | None,
        path: Path,
        console: Console,
        *,
        model: str,
        num_judged: int,
        seed: int,
    ) -> None:
        """Measure, write the picture and the numbers, and show a table of them.

        Args:
            named: The model.
            images: With labels.
            branch: Whose statistics to adapt.
            path: Of the picture.
            console: Where to tell.
            model: Its name, and where its weights are from.
            num_judged: How many images to judge on, at most half; 0 for half.
            seed: Of all draws, shifts and intervals.
        """
        from renorm.evaluate import forget_partial, make_curve, partial_under, plan_curve, write_curve
        from renorm.files import write_atomically
        from renorm.report import by_images, figures

        how = plan_curve(images, self.named(), sizes=self.sizes, draws=self.draws, num_judged=num_judged, seed=seed)
        chosen = self.chosen(named, images, seed)
        protocol = described(named, images, how, chosen, model, console.invocation)
        partial = partial_under(path.parent / f".{path.stem}.curve", chosen, how, protocol, branch)
        if partial.exists():
            console.say(f"going on with what is in {partial}", style="dim")
        with console.progress("draws") as bar:
            task = bar.add_task("adapt", total=None, numbers="")

            def show(done: float, total: int, shift: Shift) -> None:
                bar.update(task, completed=int(done), total=total, numbers=shift.label)

            options = {"branch": branch, "partial": partial, "callback": show}
            found = make_curve(named.classifier, images, chosen, how, protocol, **options)
        write_curve(path.with_suffix(".csv"), found)
        write_atomically(path, figures.png(by_images.figure(found), protocol.command))
        forget_partial(partial)
        tell(found, console)
        console.done("curve", path)
        console.done("its numbers", path.with_suffix(".csv"), "curve_numbers")

    def named(self) -> list[Method]:
        """The methods.

        Raises:
            ValueError: For an unknown name.
        """
        from renorm.evaluate import USUAL_METHODS, Method

        return [Method.named(name) for name in self.methods or USUAL_METHODS]

    def chosen(self, named: NamedModel, images: Images, seed: int) -> Sequence[Shift]:
        """The shifts.

        Raises:
            ValueError: For an unknown name, or one that is no change of the images alone.
        """
        from renorm.recipes.classify import views_of
        from renorm.shifts import make_shifts

        found = make_shifts(self.shifts or ("clean",), views_of(named, images), seed)
        attacks = [shift.name for shift in found if shift.adversary is not None]
        if attacks:
            raise ValueError(
                f"--shifts {attacks[0]} with --curve: an attack sees the model, whose statistics differ along a curve. Name "
                "corruptions or views, or evaluate attacks by renorm evaluate --adapt."
            )
        return found


def described(
    named: NamedModel, images: Images, how: CurvePlan, chosen: Sequence[Shift], model: str, command: str
) -> Protocol:
    """How the curve is made."""
    from renorm.evaluate import Choice, describe

    recipes = {name: Choice(made=method.made) for name, method in how.methods.items()}
    return describe(named.classifier, images, recipes, chosen, model=model, command=command)


def tell(found: Curve, console: Console) -> None:
    """Show the numbers, all shifts together."""
    from renorm.evaluate import curve_rows
    from renorm.report import by_images, terminal

    names = list(dict.fromkeys(shift.name for shift in found.shifts))
    title = f"mean over {len(names)} shifts" if len(names) > 1 else by_images.title(found, names[0])
    console.show(terminal.by_images(found))
    console.found(curve=[row for method in found.plan.methods for row in curve_rows(found, method)])
    console.say(f"{title}; {found.caption}", style="dim")
