"""``renorm corrupt``: a corrupted copy of a data set."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand
from renorm.shifts import CorruptionSettings

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.shifts import Manifest


@dataclass(frozen=True)
class Corrupt(Subcommand):
    """Write a corrupted copy of a data set: CIFAR-10-C, ImageNet-C or Parquet of your own images.

    An image's pixels depend on the seed, its number, the corruption and the severity only, never on the number of
    processes. The copy is there whole or not at all. Evaluate on it with: renorm evaluate MODEL --shifts OUT.

    Args:
        data: Images to corrupt: digits, a folder of images, a Parquet file or folder, or another data set's name.
        out: Folder to write: a new one.
        settings: Corruptions and layout.
        split: Which part of the data; by default test, of data without splits all.
        size: Scale and cut all images to this side in pixels; by default small images (sides of at most 96) keep the size
            of the first and larger ones become 224.
        holdout: Share of data without splits that is its test split.
        num_workers: Processes that work, 0 for none besides the main one; by default one per processor.
    """

    data: Annotated[Positional[str], tyro.conf.arg(metavar="DATA")]
    out: Annotated[Positional[Path], tyro.conf.arg(metavar="OUT")]
    settings: CorruptionSettings = field(default_factory=CorruptionSettings)
    split: str | None = None
    size: int | None = None
    holdout: float = 0.0
    num_workers: int | None = None

    @property
    def computes(self) -> bool:
        """Whether a model runs."""
        return False

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.data import evaluation_split, load
        from renorm.shifts import write_shifts

        workers = processors() if self.num_workers is None else self.num_workers
        if workers < 0:
            raise ValueError(
                f"--num-workers {workers}: 0 or more processes are needed. Leave it out for one per processor."
            )
        split = "test" if self.holdout else evaluation_split(self.data)
        images = load(self.data, self.split or split, size=self.size, holdout=self.holdout)
        with console.progress("pieces") as bar:
            task = bar.add_task("corrupt", total=None, numbers="")

            def show(number: int, total: int) -> None:
                bar.update(task, completed=number, total=total)

            options = {"num_workers": workers, "command": console.invocation, "callback": show}
            manifest = write_shifts(images, self.out, self.settings, **options)
        describe(manifest, console)
        console.done("corrupted images", self.out)


def processors() -> int:
    """How many this process may use, where the system tells, as Linux does."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def describe(manifest: Manifest, console: Console) -> None:
    """Say what was written, and what was chosen where nothing was given."""
    settings = manifest.settings
    kind = {"jpeg": f", JPEG of quality {settings.quality}", "png": ", PNG"}.get(settings.format or "", "")
    console.say(
        f"{counted(manifest.num_images, 'image')} of {manifest.width} x {manifest.height} pixels from {manifest.data}: "
        f"{' '.join(settings.corruptions)}, severities {' '.join(map(str, settings.severities))}"
    )
    console.say(
        f"layout {settings.layout}{kind}, severities for {settings.scale} pixels, seed {settings.seed}", style="dim"
    )
    console.found(images=manifest.num_images, width=manifest.width, height=manifest.height, settings=settings)
