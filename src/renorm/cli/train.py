"""``renorm train``: branches are views of the training images."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.options import Subcommand
from renorm.recipes.classify import Config, Options, configured, options_of

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.train import Run


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
        from renorm.cli.training import table, trained
        from renorm.train import Run

        config = configured(**vars(self.options))
        run = Run(self.out or default_folder(config))
        config = resumed(run, self.options, console) if self.resume else config
        recipe = trained(config, run.path, console, resume=self.resume, device=self.common.device)
        if config.writing.table_images:
            table(recipe, run.path, config.writing.table_images, console)
        recipe.processes.leave()


def default_folder(config: Config) -> Path:
    """Folder of a run that names none."""
    data, network = Path(config.source.data).stem, config.network
    mixed = [config.mix.kind] if config.mix else []
    return Path("runs") / "-".join(
        [data, network.model.replace(":", "-"), network.norm, *config.branches, *mixed, str(config.seed)]
    )


def resumed(run: Run, given: Options, console: Console) -> Config:
    """The configuration a run was started with.

    Args:
        run: Which one.
        given: What is asked for now; what was typed counts even where it is the default.
        console: Where to tell, and what was typed.

    Raises:
        ValueError: If options were given that differ from it.
    """
    from renorm.recipes import config_of
    from renorm.recipes.classify import located

    about = run.config()
    config = located(config_of(about))
    if "format" not in about:  # a run from before did not keep it
        config = replace(config, writing=replace(config.writing, table_images=vars(given)["table_images"]))
    started, asked = options_of(config), options_of(located(configured(**vars(given))))
    usual, typed = vars(Options()), console.typed
    differing = [
        name for name, value in asked.items() if (value != usual[name] or name in typed) and value != started[name]
    ]
    if differing:
        differ = ", ".join(f"{name} {asked[name]!r} (the run has {started[name]!r})" for name in differing)
        raise ValueError(
            f"--resume with other options than {run.path} was started with: {differ}. A run goes on as it began. "
            "Leave them out, or start a new run with another --out."
        )
    console.say(f"going on with {run.path}", style="dim")
    return config
