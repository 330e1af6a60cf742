"""What the frozen cases call: the only file here that knows where things are and what they are called.

When something moves, this file follows; the cases, and so the numbers, stay.
"""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

import renorm
import renorm.cli.demo as demo_command
from renorm.attacks import fgsm, pgd
from renorm.cli import main
from renorm.cli.console import Console
from renorm.corruptions import CORRUPTIONS, corrupt
from renorm.data import Images, load
from renorm.evaluate import read_results
from renorm.export import write as export
from renorm.functional import adain, exchange_moments, mix_moments, moment_shortcut, pono
from renorm.layers import SandwichBatchNorm, SplitBatchNorm
from renorm.models import create
from renorm.recipes.classify import Classification, Config, configured
from renorm.train import Run, set_rates

__all__ = [
    "CORRUPTIONS",
    "SandwichBatchNorm",
    "SplitBatchNorm",
    "Training",
    "adain",
    "bank_tensors",
    "command",
    "corrupt",
    "create",
    "curve",
    "demo",
    "digits",
    "domains",
    "exchange",
    "export",
    "fgsm",
    "history",
    "mixed_moments",
    "moment_shortcut",
    "numbers_of",
    "pgd",
    "pono",
    "renorm",
    "state",
    "table",
    "weights_of_run",
]

CURVE = ("method", "images", "shift", "severity", "accuracy", "low", "high", "draws")


@cache
def digits(split: str, number: int) -> Images:
    """The first images of the embedded digits."""
    return load("digits", split=split).subset(range(number))


def domains(images: Images) -> Images:
    """Images in three domains of different sizes, one of them inverted."""
    domain = torch.arange(len(images)) % 7 % 3
    assert isinstance(images.pixels, Tensor)
    pixels = torch.where((domain == 1).view(-1, 1, 1, 1), 255 - images.pixels, images.pixels)
    return replace(images, pixels=pixels, domains=["photo", "art", "sketch"], domain=domain)


class Training:
    """A small classifier in training, step by step.

    Args:
        options: Of ``renorm train``, by their names there.
    """

    def __init__(self, train: Images, test: Images, **options: Any) -> None:
        self.recipe = Classification(configured(**options), train, test)
        self.recipe.model.train()
        self.model: nn.Module = self.recipe.model

    def step(self, number: int) -> dict[str, float]:
        """Train on the batch of a step, and give its numbers."""
        set_rates(self.recipe, number)
        return self.recipe.step(next(iter(self.recipe.batches(*divmod(number, self.recipe.plan.steps)))))

    def finish(self) -> dict[str, float]:
        """Settle the statistics, as after an epoch, and validate."""
        self.recipe.finish()
        return self.recipe.validate()

    @property
    def evaluated(self) -> nn.Module:
        """What is validated and saved."""
        return self.recipe.evaluated


def exchange(x: Tensor, permutation: Tensor, over: str, groups: int | None, **options: Any) -> Tensor:
    """Moments exchanged over positions, channels, images or groups of channels."""
    return exchange_moments(x, permutation, over, groups=groups, **options)


def mixed_moments(x: Tensor, permutation: Tensor, weight: Tensor, over: str) -> Tensor:
    """Moments between one's own and another's."""
    return mix_moments(x, permutation, weight, over)


def state(model: nn.Module) -> dict[str, Tensor]:
    """The numbers of a model; bytes are text and say nothing about them."""
    return {name: tensor for name, tensor in model.state_dict().items() if tensor.dtype != torch.uint8}


def bank_tensors(bank: Any) -> dict[str, Any]:
    """The numbers of a bank."""
    found: dict[str, Any] = {"samples": bank.samples}
    for name, site in bank.sites.items():
        parts = {"mean": site.mean, "var": site.var, "count": site.count, "weight": site.weight, "bias": site.bias}
        found |= {f"{name}.{key}": value for key, value in parts.items()}
    return found


def command(*arguments: object) -> None:
    """Run a command of renorm, silently."""
    with redirect_stdout(StringIO()):
        status = main([str(each) for each in arguments])
    assert status == 0, f"renorm {' '.join(map(str, arguments))} ended with status {status}"


def shorter(config: Config) -> Config:
    """The same for one epoch."""
    return replace(config, optimization=replace(config.optimization, epochs=1))


def demo(folder: Path) -> Path:
    """The demo with one epoch in place of many; the folder of its run."""
    with replaced(demo_command, "CONFIG", shorter), redirect_stdout(StringIO()):
        demo_command.Demo(out=folder).run(Console(quiet=True))
    return folder / "run"


@contextmanager
def replaced(owner: Any, name: str, change: Callable[[Any], Any]) -> Iterator[None]:
    """A constant of a module as another, inside the block."""
    before = getattr(owner, name)
    setattr(owner, name, change(before))
    try:
        yield
    finally:
        setattr(owner, name, before)


def history(folder: Path) -> list[dict[str, Any]]:
    """The numbers of each epoch of a run, without the time they took."""
    return [{key: value for key, value in each.items() if key != "seconds"} for each in Run(folder).history()]


def weights_of_run(folder: Path) -> dict[str, Tensor]:
    """The newest weights of a run."""
    (newest,) = (folder / "checkpoint").glob("step-*/model.safetensors")
    return numbers_of(newest)


def numbers_of(path: Path) -> dict[str, Tensor]:
    """The tensors of a file, but for text."""
    return {key: value for key, value in safetensors.torch.load_file(path).items() if value.dtype != torch.uint8}


def table(path: Path) -> dict[str, Any]:
    """A table of results: each measure of each bank under each shift, and which images were right."""
    results = read_results(path)
    found: dict[str, Any] = {}
    for row in results.rows:
        cell = f"{row.bank}, {row.shift} {row.severity}"
        found |= {f"{cell}: {row.measure}": row.value, f"{cell}: images": row.count, f"{cell}: seed": row.seed}
        if row.measure == "accuracy":
            found |= {f"{cell}: low": row.low, f"{cell}: high": row.high}
            found[f"{cell}: hits"] = results.hits[row.cell].to(torch.uint8)
    return found


def curve(path: Path) -> list[dict[str, str]]:
    """The numbers of a curve of accuracy against the number of images, without what tells how they were made."""
    with path.open() as file:
        return [{name: line[name] for name in CURVE} for line in csv.DictReader(file)]
