"""``renorm train``: branches are views of the training images."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.options import Subcommand
from renorm.recipes.classify import Config, Options, configured

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Train(Subcommand):
    """Train a classifier whose branches are views of each image, then evaluate it and write its report.

    On several GPUs or machines: torchrun --nproc-per-node 4 -m renorm train ... (or accelerate launch). The images of each
    step are those of one process; a run's folder must be one that all processes see.

    Args:
        options: What to train.
        out: Folder of the run; by default one under runs/ named after the data, model and norm.
        resume: Go on with the run in --out from its newest checkpoint, with the options it was started with.
    """

    options: Options = field(default_factory=Options)
    out: Path | None = None
    resume: bool = False

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.training import table, tell, trained
        from renorm.recipes.classify import resumed
        from renorm.train import Run

        config = configured(**vars(self.options))
        run = Run(self.out or default_folder(config))
        if self.resume:
            config = resumed(run, self.options, console.typed)
            console.say(f"going on with {run.path}", style="dim")
        recipe = trained(config, run.path, console, tell, resume=self.resume, device=self.common.device)
        if config.writing.table_images:
            table(recipe, run.path, config.writing.table_images, console)
        recipe.processes.leave()


def default_folder(config: Config) -> Path:
    """Folder of a run that names none."""
    data, network = Path(config.source.data).stem, config.network
    mixed = [config.mix.kind] if config.mix else []
    model = Path(network.model).name if ".py:" in network.model else network.model
    return Path("runs") / "-".join(
        [data, re.sub("[:/]", "-", model), network.norm, *config.branches, *mixed, str(config.seed)]
    )
