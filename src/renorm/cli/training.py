"""What is told while something trains; for every command that trains."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.cli.console import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.progress import Progress, TaskID

    from renorm.cli.console import Console
    from renorm.recipes.classify import Classification
    from renorm.train import Event, Recipe

TOGETHER = "norms use the statistics of all together"
APART = "each normalizes by its own batch, running statistics are pooled before they are used (--sync-bn: all together)"


def trained(
    config: Any,
    folder: Path,
    console: Console,
    tell: Callable[[Any, Console], None],
    *,
    resume: bool = False,
    device: str | None = None,
    words: Callable[[Mapping[str, float]], list[str]] = lambda record: [],
) -> Recipe:
    """Train under a progress bar; only the main process speaks. The recipe, which is trained.

    Args:
        config: Of any recipe.
        folder: Of the run.
        console: Where to tell.
        tell: Says what is trained, given the recipe.
        resume: Whether to go on with the run in the folder.
        device: Where to train.
        words: What else is told of an epoch, given its record.
    """
    from renorm.recipes import fit, prepare

    recipe = prepare(config, device)
    if not recipe.processes.main:
        console.leave_to_others()
    tell(recipe, console)
    with console.progress("steps") as bar:
        meter = Meter(console, bar, recipe, words)
        command = f"{recipe.processes.launch}{console.invocation}"
        run = fit(recipe, folder, resume=resume, command=command, callback=meter, listener=meter.epoch)
    console.done("checkpoint", run.checkpoint)
    if run.banks.exists():
        console.done("banks", run.banks)
    if recipe.processes.main:
        console.found(run=run.path, epochs=run.history())
    return recipe


def table(recipe: Recipe, folder: Path, num_images: int, console: Console) -> None:
    """Evaluate what was trained, by the main process; tables of all seeds are of the same images."""
    from renorm.cli.evaluation import Place, evaluated
    from renorm.evaluate import ranks
    from renorm.recipes import Evaluation, open_run, prepare_table, recipe_at

    group = ranks.meet() if recipe.processes.count > 1 else None
    opened, about = (
        open_run(folder, str(recipe.processes.device)),
        {"model": str(folder), "command": console.invocation},
    )
    prepared = prepare_table(recipe_at(folder), opened, Evaluation(num_images=num_images), **about)
    evaluated(prepared, Place(str(folder)), console, group)


def tell(recipe: Classification, console: Console) -> None:
    """Say what classifier is trained."""
    from renorm.recipes.classify import attack_in_words

    config, processes = recipe.config, recipe.processes
    network = config.network
    console.say(
        f"{network.model}, {network.norm} norms, branches {' '.join(config.branches)}: {counted(len(recipe.images), 'image')} "
        f"of {recipe.images.name}, {counted(config.optimization.epochs, 'epoch')}, {processes.device.type}, seed {config.seed}"
    )
    if recipe.mix is not None:
        console.say(f"mixes by {recipe.mix}", "dim")
    if config.adversarial:
        console.say(attack_in_words(config), "dim")
    if processes.count > 1:
        console.say(f"{processes.count} processes; {TOGETHER if network.sync_bn else APART}", "dim")
    elif network.sync_bn:
        console.say("--sync-bn has no effect in one process", "yellow")


class Meter:
    """Shows steps in a terminal's bar, and tells each epoch in a line that stays.

    Args:
        console: Where to tell.
        bar: What shows steps.
        recipe: What trains.
        words: What else is told of an epoch.
    """

    def __init__(
        self, console: Console, bar: Progress, recipe: Recipe, words: Callable[[Mapping[str, float]], list[str]]
    ) -> None:
        plan, self.words = recipe.plan, words
        self.console, self.bar, self.plan, self.examples = console, bar, plan, 0
        self.task: TaskID = bar.add_task("train", total=plan.total, numbers="")
        self.epochs = plan.total // plan.steps
        self.seconds, self.since, self.first = 0.0, time.perf_counter(), None

    def __call__(self, event: Event) -> None:
        """Show one step: losses, accuracies in training, images per second."""
        self.examples = event.examples
        self.seconds = event.seconds if not self.seconds else 0.9 * self.seconds + 0.1 * event.seconds
        numbers = [
            f"epoch {min((event.step - 1) // self.plan.steps + 1, self.epochs)}/{self.epochs}",
            *parts(event.means),
            self.rate,
        ]
        self.bar.update(self.task, completed=event.step, numbers="  ".join(numbers))

    @property
    def rate(self) -> str:
        """Images per second of the last steps."""
        return f"{self.examples / self.seconds:,.0f} images/s" if self.seconds else ""

    def epoch(self, record: Mapping[str, float]) -> None:
        """Tell one epoch: losses and accuracies in training, accuracies in the test, images per second, time left."""
        number = int(record["epoch"])
        tested = [f"test {text}" for text in shares(record, "test/")]
        left = duration(record["seconds"] * (self.epochs - number))
        words = [
            f"epoch {number}/{self.epochs}",
            *parts(record),
            *tested,
            *self.words(record),
            self.rate,
            f"{left} left",
        ]
        self.console.log("  ".join(word for word in words if word))


def parts(numbers: Mapping[str, float]) -> list[str]:
    """The loss, or all losses where there is none of the whole, and accuracies.

    Example:
        >>> parts({"loss": 1, "loss/weak": 1, "accuracy/weak": 0.5}), parts({"loss/generator": 1, "loss/critic": 2})
        (['loss 1.000', 'weak 50.0%'], ['loss/generator 1.000', 'loss/critic 2.000'])
    """
    losses = [name for name in numbers if name == "loss"] or [name for name in numbers if name.startswith("loss/")]
    return [*(f"{name} {numbers[name]:.3f}" for name in losses), *shares(numbers, "accuracy/")]


def shares(numbers: Mapping[str, float], prefix: str) -> list[str]:
    """Shares by the name after a prefix."""
    return [f"{name.removeprefix(prefix)} {value:.1%}" for name, value in numbers.items() if name.startswith(prefix)]


def duration(seconds: float) -> str:
    """A time as people read it.

    Example:
        >>> duration(75), duration(3700)
        ('1:15', '1:01:40')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
