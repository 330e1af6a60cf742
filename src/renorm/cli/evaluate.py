"""``renorm evaluate``: the table bank x shift."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import console, done, progress, say
from renorm.cli.source import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from renorm.augment import View
    from renorm.data import Images
    from renorm.evaluate import Choice, Results, Shift
    from renorm.recipes.opened import Opened


@dataclass(frozen=True)
class Evaluate:
    """Evaluate every bank of a model under every shift: accuracy with 95 % intervals, likelihood, calibration.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        data: Images to evaluate on; a run knows its own.
        train: Training images, which clean@ banks are measured on; a run knows its own.
        banks: Branches, VIEW@BRANCH such as clean@weak (the branch's affine, statistics measured under that view),
            mixtures such as weak:0.7+strong:0.3, or bank files; by default all branches, clean@ for each, and the even
            mixture of two. A model without branches has the bank source.
        shifts: clean, weak, strong, and corruptions with or without a severity (contrast, contrast:3).
        num_images: Evaluate on so many test images, drawn with the seed; 0 for all.
        adapt: Also evaluate banks adapted to each shift from so many of its images; 0 for none.
        prior: How many images the source bank counts for when adapting.
        out: Where to write the table; by default results.csv of the run.
        seed: Of the draw, the shifts and the intervals.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    data: str | None = None
    train: str | None = None
    banks: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()
    num_images: int = 0
    adapt: int = 0
    prior: float = 64
    out: Path | None = None
    seed: int = 0
    source: Source = field(default_factory=Source)

    def run(self) -> None:
        """Run the command."""
        from renorm.report import tables

        opened = self.source.open(self.model)
        train, images = self.images(opened)
        chosen = self.chosen_shifts(opened, images)
        results = self.results(opened, images, chosen, self.choices(opened, train))
        console.print(tables.results(results.rows, f"{self.model}: bank x shift"))
        self.write(results)

    def write(self, results: Results) -> None:
        """Write the table, and a run's report."""
        from renorm.cli.report import Report
        from renorm.evaluate import write_results

        run = Path(self.model)
        is_run = (run / "config.json").exists()
        out = self.out or (run / "results.csv" if is_run else None)
        if out is not None:
            write_results(out, results)
            done("table", out)
        if is_run and self.out is None:
            Report(run, table=False).run()

    def images(self, opened: Opened) -> tuple[Images | None, Images]:
        """Training images, if there are any, and those to evaluate on."""
        from renorm.data import sample
        from renorm.recipes.classify import read

        if not opened.about and self.data is None:
            raise ValueError("no images to evaluate on: a model given by name has none of its own. Add --data.")
        train, test = read(opened.config) if opened.about else (None, None)
        train = opened.images(self.train, "train") if self.train else train
        images = opened.images(self.data) if self.data else test
        assert images is not None
        if self.num_images and self.num_images < len(images):
            images = sample(images, self.num_images, self.seed)
        return train, images

    def choices(self, opened: Opened, train: Images | None) -> Mapping[str, Choice]:
        """The banks to evaluate."""
        from renorm.evaluate import TrainingImages, choose, usual

        names = self.banks or [name for name in usual(opened.branches) if train or not name.startswith("clean@")]
        training = TrainingImages(train, seed=self.seed, make_view=views(opened, train) if train else None)
        return choose(opened.subject, names, opened.branches, training)

    def chosen_shifts(self, opened: Opened, images: Images) -> list[Shift]:
        """The shifts to evaluate under."""
        from renorm.evaluate import STANDARD, shifts

        return shifts(self.shifts or STANDARD, views(opened, images), self.seed)

    def results(
        self, opened: Opened, images: Images, chosen: Sequence[Shift], choices: Mapping[str, Choice]
    ) -> Results:
        """The table, made under a progress bar."""
        from renorm.evaluate import adapted, evaluate

        subject, command = opened.subject, " ".join(["renorm", *sys.argv[1:]])
        adapt = adapted(subject, images, opened.branches, self.adapt, self.prior) if self.adapt else None
        say(f"{len(images):,} images of {images.name}, banks {' '.join(choices)}, seed {self.seed}", style="dim")
        with progress("shifts") as bar:
            task = bar.add_task("evaluate", total=len(chosen), numbers="")

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            made = {"adapt": adapt, "model": self.model, "command": command, "callback": show}
            return evaluate(subject, images, choices, chosen, **made)


def views(opened: Opened, images: Images) -> Callable[[str], View]:
    """Makes views of images by name, with the settings the model was trained with."""
    config, size = replace(opened.config, data=images.name), images[0][0].shape[-1]
    return lambda name: config.view(name, size)
