"""``renorm train``: branches are views of the training images."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.console import console, done, invocation, progress, say
from renorm.recipes.classify import Config, Options, configured, options_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from rich.progress import Progress, TaskID

    from renorm.recipes.classify import Classification
    from renorm.train import Event, Run

TOGETHER = "norms use the statistics of all together"
APART = "each normalizes by its own batch, running statistics are pooled before they are used (--sync-bn: all together)"


@dataclass(frozen=True)
class Train:
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

    def run(self) -> None:
        """Run the command."""
        from renorm.train import Run

        config = configured(**vars(self.options))
        run = Run(self.out or default_folder(config))
        config = resumed(run, self.options, typed()) if self.resume else config
        recipe = prepared(config)
        fitted(recipe, run.path, self.resume)
        if config.writing.table_images:
            from renorm.cli.evaluate import Evaluate
            from renorm.recipes.classify.score import Evaluation

            asked = Evaluation(num_images=config.writing.table_images)  # tables of all seeds are of the same images
            Evaluate(str(run.path), asked).run()
        recipe.processes.leave()


def default_folder(config: Config) -> Path:
    """Folder of a run that names none."""
    data, network = Path(config.source.data).stem, config.network
    mixed = [config.mix.kind] if config.mix else []
    return Path("runs") / "-".join(
        [data, network.model.replace(":", "-"), network.norm, *config.branches, *mixed, str(config.seed)]
    )


def prepared(config: Config) -> Classification:
    """The recipe, and lines that say what it is; only the main process speaks."""
    from renorm.recipes.classify import Classification

    recipe = Classification(config)
    console.quiet = not recipe.processes.main
    tell(recipe)
    return recipe


def tell(recipe: Classification) -> None:
    """Say what is trained."""
    config, processes = recipe.config, recipe.processes
    network, together = config.network, config.network.sync_bn
    say(
        f"{network.model}, {network.norm} norms, branches {' '.join(config.branches)}: {len(recipe.images):,} images of "
        f"{recipe.images.name}, {config.optimization.epochs} epochs, {processes.device.type}, seed {config.seed}"
    )
    if recipe.mix is not None:
        say(f"mixes by {recipe.mix}", "dim")
    if config.adversarial:
        tell_attack(config)
    if processes.count > 1:
        say(f"{processes.count} processes; {TOGETHER if together else APART}", "dim")
    elif together:
        say("--sync-bn has no effect in one process", "yellow")


def tell_attack(config: Config) -> None:
    """Say what makes attacked views."""
    from renorm.recipes.classify.adversarial import attack_of, attacked_branches, origin

    threat = config.threat
    how = "in evaluation mode" if threat.mode == "eval" else "in training mode, which moves its statistics"
    attacked = f"{', '.join(attacked_branches(config))}: images of {origin(config)} under attack"
    say(f"{attacked}, {attack_of(config)}, {threat.steps} steps, {how}, loss {threat.loss}", "dim")


def fitted(recipe: Classification, folder: Path, resume: bool) -> Run:
    """Train under a progress bar."""
    from renorm.recipes import fit

    plan, count = recipe.plan, recipe.processes.count
    command = invocation("renorm" if count == 1 else f"torchrun --nproc-per-node {count} -m renorm")
    with progress("steps") as bar:
        task = bar.add_task("train", total=plan.total, numbers="")
        meter = Meter(bar, task, recipe.config, plan.steps)
        run = fit(recipe, folder, resume=resume, command=command, callback=meter)
    done("checkpoint", run.checkpoint)
    if run.banks.exists():
        done("banks", run.banks)
    return run


class Meter:
    """Shows steps: loss, accuracy of each branch, images per second; in a log, a line per epoch instead of a bar."""

    def __init__(self, bar: Progress, task: TaskID, config: Config, epoch: int) -> None:
        self.bar, self.task, self.config, self.epoch = bar, task, config, epoch
        self.seconds = 0.0

    def __call__(self, event: Event) -> None:
        """Show one step."""
        self.seconds = event.seconds if not self.seconds else 0.9 * self.seconds + 0.1 * event.seconds
        accuracies = [f"{name} {event.means[f'accuracy/{name}']:.1%}" for name in self.config.branches]
        numbers = [
            f"loss {event.means['loss']:.3f}",
            *accuracies,
            f"{self.config.examples / self.seconds:,.0f} images/s",
        ]
        self.bar.update(self.task, completed=event.step, numbers="  ".join(numbers))


def typed() -> set[str]:
    """The options that this command names, be it with their defaults."""
    words = {
        word.partition("=")[0].lstrip("-").replace("-", "_").removeprefix("no_")
        for word in sys.argv
        if word[:2] == "--"
    }
    return words & {f.name for f in fields(Options)}


def resumed(run: Run, given: Options, names: Collection[str] = ()) -> Config:
    """The configuration a run was started with.

    Args:
        run: Which one.
        given: What is asked for now.
        names: Options that were asked for even where they have their defaults.

    Raises:
        ValueError: If options were given that differ from it.
    """
    from renorm.recipes import config_of
    from renorm.recipes.classify import located

    config = located(config_of(run.config()))
    started, asked = options_of(config), options_of(located(configured(**vars(given))))
    usual = vars(Options())
    differing = [
        name for name, value in asked.items() if (value != usual[name] or name in names) and value != started[name]
    ]
    if differing:
        differ = ", ".join(f"{name} {asked[name]!r} (the run has {started[name]!r})" for name in differing)
        raise ValueError(
            f"--resume with other options than {run.path} was started with: {differ}. A run goes on as it began. "
            "Leave them out, or start a new run with another --out."
        )
    console.print(f"[dim]going on with {run.path}[/]")
    return config
