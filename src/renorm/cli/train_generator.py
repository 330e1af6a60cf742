"""``renorm train-generator``: pictures of classes, by norms that know the class."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.cli.console import counted
from renorm.cli.options import Subcommand
from renorm.recipes.generate import Config

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class TrainGenerator(Subcommand):
    """Train a generator of pictures of each class against a discriminator, then evaluate it and write its report.

    Each record of the training tells both losses and the time left, and leaves a sheet of samples in the run's folder. The
    table shows what pictures are worth that are made with the statistics of training, measured ones, and others.

    Args:
        options: What to train.
        out: Folder of the run; by default one under runs/ named after the data, model and norm.
        resume: Go on with the run in --out from its newest checkpoint, with the options it was started with.
        table_images: Evaluate on so many pictures when it is trained; 0 leaves the table to renorm evaluate.
    """

    options: Config = field(default_factory=Config)
    out: Path | None = None
    resume: bool = False
    table_images: int = 2000

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.training import table, trained
        from renorm.recipes import check_typed
        from renorm.recipes.generate import config_at

        config = self.options
        folder = (
            self.out or Path("runs") / f"generate-{Path(config.data).stem}-{config.model}-{config.norm}-{config.seed}"
        )
        if self.resume:
            config = config_at(folder)
            check_typed(folder, config, self.options, console.typed)
        recipe = trained(config, folder, console, tell, resume=self.resume, device=self.common.device)
        if self.table_images and recipe.processes.count == 1:
            table(recipe, folder, self.table_images, console)
        elif self.table_images:
            console.say(f"evaluate it by one process: renorm evaluate {folder}")
        recipe.processes.leave()


def tell(recipe: Any, console: Console) -> None:
    """Say what is trained."""
    from renorm.recipes.generate import in_words

    images, count = recipe.images, recipe.processes.count
    size = images[0][0].shape[-1]
    console.say(
        f"{in_words(recipe.config)}: {counted(len(images), 'image')} of {images.name} at {size} pixels, "
        f"{len(images.classes)} classes, {recipe.processes.device.type}"
    )
    if recipe.grey:
        console.say("the images are grey: they become three equal channels", "dim")
    if count > 1:
        console.say(f"{count} processes; norms use the statistics of all together", "dim")
