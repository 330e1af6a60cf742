"""``renorm demo``: the whole story on the digits that scikit-learn carries."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.cli.console import console, done, say
from renorm.recipes.classify import Config, DataSource, Network, Optimization, Options, Writing, options_of

if TYPE_CHECKING:
    from torch import nn

    from renorm.recipes import NamedModel

CONFIG = Config(
    DataSource("digits"),
    network=Network("resnet8"),
    optimization=Optimization(epochs=16, rate=0.1),
    writing=Writing(table_images=0),
)
BRANCH, SHIFT, NUM_IMAGES = "weak", "contrast:5", 32


@dataclass(frozen=True)
class Demo:
    """Train with two branches, compare banks, adapt to a shift, fold, export and report: on the embedded digits.

    Args:
        out: Folder of the demo; by default runs/demo, which is replaced.
        seed: Of everything.
    """

    out: Path = Path("runs/demo")
    seed: int = 0

    def run(self) -> None:
        """Run the command."""
        import torch

        from renorm.cli.export import write_exported
        from renorm.recipes import open_run

        started = time.perf_counter()
        # Threads gain a network this small little, and on a busy machine waiting for each other makes it 20 times slower.
        torch.set_num_threads(1)
        run = self.out / "run"
        clear(self.out)
        heading(1, "Train one network on weak and strong views, each with its own batch normalization")
        train(run, self.seed)
        heading(2, "Which bank is best under which shift?")
        evaluate(run, self.seed)
        named = open_run(run)
        heading(3, f"Repair the {BRANCH} bank under {SHIFT.replace(':', ' ')} with {NUM_IMAGES} unlabelled images")
        adapt(named, self.out / "adapted.safetensors", self.seed)
        heading(4, "Fold the repaired branch into a plain network, and export it")
        plain = fold(named, self.out / "plain.safetensors")
        write_exported(named, plain, self.out / "plain.pt2", {"model": str(run), "bank": "adapted.safetensors"})
        finish(self.out, time.perf_counter() - started)


def heading(number: int, text: str) -> None:
    """Start a chapter."""
    console.print()
    console.rule(f"[bold]{number}[/]  {text}", align="left", style="blue")


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


def train(run: Path, seed: int) -> None:
    """Chapter 1."""
    from renorm.cli.train import Train

    Train(Options(**options_of(replace(CONFIG, seed=seed))), out=run).run()


def evaluate(run: Path, seed: int) -> None:
    """Chapter 2."""
    from renorm.cli.evaluate import Evaluate
    from renorm.evaluate import read_results
    from renorm.recipes.classify.score import Evaluation
    from renorm.report.summary import finding

    Evaluate(str(run), Evaluation(seed=seed)).run()
    console.print(f"\n{finding(read_results(run / 'results.csv'))}")


def adapt(named: NamedModel, path: Path, seed: int) -> None:
    """Chapter 3."""
    import torch

    import renorm
    from renorm.cli.adapt import divided, pixels
    from renorm.cli.adaptation import judge, tell_change
    from renorm.report import tables
    from renorm.shifts import make_shifts

    images = named.images(CONFIG.source.data)
    (shift,) = make_shifts([SHIFT], lambda name: named.config.view(name, images[0][0].shape[-1]), seed)
    pixels_of_all = shift(images.batch(range(len(images)))[0], torch.arange(len(images)))
    few, rest = divided(replace(images, pixels=pixels_of_all), NUM_IMAGES, seed)
    source = renorm.Bank.of(named.classifier.model, branch=BRANCH)
    adaptation = renorm.adapt_(named.classifier.model, pixels(named, few), branch=BRANCH)
    console.print(tables.distances(adaptation.distance))
    tell_change(judge(named, rest, source, adaptation, BRANCH), rest, seed)
    renorm.Bank.of(named.classifier.model, branch=BRANCH, affine=True).save(path)
    done("adapted bank", path)


def fold(named: NamedModel, path: Path) -> nn.Module:
    """Chapter 4: a plain model."""
    from renorm.cli.fold import write_folded

    return write_folded(named, BRANCH, path)


def finish(folder: Path, seconds: float) -> None:
    """Say where to look."""
    console.print()
    console.rule(f"[bold green]Done in {seconds:.0f} s[/]", align="left", style="green")
    say(f"Open {folder / 'run' / 'report.html'} in a browser: the table as a heat map, the trade-off, the curves.")
    say(f"Then try:  renorm evaluate {folder / 'run'} --banks weak strong weak:0.8+strong:0.2 --adapt 32")
