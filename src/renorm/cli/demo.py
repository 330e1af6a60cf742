"""``renorm demo``: the whole story on the digits that scikit-learn carries."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.options import Subcommand
from renorm.recipes.classify import Computing, Config, DataSource, Network, Optimization, Writing

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.data import Images
    from renorm.recipes import NamedModel

CONFIG = Config(
    DataSource("digits"),
    network=Network("resnet8"),
    optimization=Optimization(epochs=12, rate=0.1),
    computing=Computing(num_workers=1),
    writing=Writing(table_images=0),
)
BRANCH, SHIFT, NUM_IMAGES = "weak", "contrast:5", 32


@dataclass(frozen=True)
class Demo(Subcommand):
    """Train with two branches, compare banks, adapt to a shift, fold, export and report: on the embedded digits.

    Args:
        out: Folder of the demo; by default runs/demo, which is replaced.
        seed: Of everything.
    """

    out: Path = Path("runs/demo")
    seed: int = 0

    def run(self, console: Console) -> None:
        """Run the command."""
        import torch

        from renorm.cli.written import write_exported, write_folded
        from renorm.recipes import open_run

        started = time.perf_counter()
        # Threads gain a network this small little, and on a busy machine waiting for each other makes it 20 times slower.
        torch.set_num_threads(1)
        run = self.out / "run"
        clear(self.out)
        heading(console, 1, "Train one network on weak and strong views, each with its own batch normalization")
        train(run, self.seed, self.common.device, console)
        heading(console, 2, "Which bank is best under which shift?")
        named = open_run(run, self.common.device)
        evaluate(named, run, self.seed, console)
        heading(
            console, 3, f"Repair the {BRANCH} bank under {SHIFT.replace(':', ' ')} with {NUM_IMAGES} unlabelled images"
        )
        adapt(named, self.out, self.seed, console)
        heading(console, 4, "Fold the repaired branch into a plain network, and export it")
        plain = write_folded(named, BRANCH, self.out / "plain.safetensors", console)
        about = {"model": str(run), "bank": "adapted.safetensors"}
        write_exported(named, plain, self.out / "plain.pt2", about, console)
        finish(self.out, time.perf_counter() - started, console)


def heading(console: Console, number: int, text: str) -> None:
    """Start a chapter."""
    console.head(f"[bold]{number}[/]  {text}")


def clear(folder: Path) -> None:
    """Remove a former demo, and nothing else.

    Raises:
        ValueError: If the folder holds something that is not a demo's.
    """
    import shutil

    own = {"run", "adapted.safetensors", "plain.safetensors", "plain.pt2"}
    foreign = sorted(path.name for path in folder.iterdir() if path.name not in own) if folder.exists() else []
    if foreign:
        raise ValueError(
            f"{folder} holds {foreign[0]}, which is no part of a demo: an empty folder or a former demo is needed. "
            "Choose another --out."
        )
    shutil.rmtree(folder, ignore_errors=True)


def train(run: Path, seed: int, device: str | None, console: Console) -> None:
    """Chapter 1."""
    from renorm.cli.training import tell, trained

    trained(replace(CONFIG, seed=seed), run, console, tell, device=device)


def evaluate(named: NamedModel, run: Path, seed: int, console: Console) -> None:
    """Chapter 2."""
    from renorm.cli.evaluation import Place, evaluated
    from renorm.recipes import Evaluation, prepare_table
    from renorm.report import finding

    asked = Evaluation(seed=seed, adapt=NUM_IMAGES)
    prepared = prepare_table(CONFIG.recipe, named, asked, model=str(run), command=console.invocation)
    results = evaluated(prepared, Place(str(run)), console)
    console.show(f"\n{finding(results)}")


def adapt(named: NamedModel, out: Path, seed: int, console: Console) -> None:
    """Chapter 3."""
    from renorm.adapt import adapt_
    from renorm.banks import Bank
    from renorm.cli.adaptation import judged_under_bar, pixels, tell_advice, tell_change, tell_shift
    from renorm.cli.adapted import told
    from renorm.cli.pages import write_page
    from renorm.evaluate import divide
    from renorm.recipes import page_of_run
    from renorm.report.sections import adapted
    from renorm.train import Run

    few, rest = divide(shifted(named, seed), NUM_IMAGES, seed)
    source = Bank.of(named.classifier.model, branch=BRANCH)
    adaptation = adapt_(named.classifier.model, pixels(named, few), branch=BRANCH)
    found = tell_shift(adaptation, None, few.name, console)
    judged = judged_under_bar(named, rest, source, BRANCH, console, moved=adaptation.source_weight != 1)
    change = tell_change(judged, rest, seed, console)
    advice = tell_advice(found, change, console)
    bank = Bank.of(named.classifier.model, branch=BRANCH, affine=True)
    bank.save(out / "adapted.safetensors")
    console.done("adapted bank", out / "adapted.safetensors")
    shown, run = told(f"the {BRANCH} bank", few, found, change, judged, advice), out / "run"
    _, head, sections = page_of_run(run, more=adapted.story(shown))
    write_page(Run(run).report, head, sections, console)


def shifted(named: NamedModel, seed: int) -> Images:
    """The test images under the shift."""
    import torch

    from renorm.recipes.classify import views_of
    from renorm.shifts import make_shifts

    images = named.images(CONFIG.source.data)
    (shift,) = make_shifts([SHIFT], views_of(named, images), seed)
    pixels = shift(images.batch(range(len(images)))[0], torch.arange(len(images)))
    return replace(images, name=f"{images.name} under {SHIFT.replace(':', ' ')}", pixels=pixels)


def finish(folder: Path, seconds: float, console: Console) -> None:
    """Say where to look."""
    console.head(f"[bold green]Done in {seconds:.0f} s[/]", style="green")
    console.found(seconds=seconds)
    console.say(
        f"Open {folder / 'run' / 'report.html'} in a browser: the table as a heat map, the trade-off, the curves."
    )
    console.say(f"Then try:  renorm evaluate {folder / 'run'} --banks weak strong weak:0.8+strong:0.2 --adapt 64")
