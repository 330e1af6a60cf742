"""``renorm train-style``: a decoder that gives pictures the style of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.cli.options import Subcommand
from renorm.recipes.stylize import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from renorm.cli.console import Console


@dataclass(frozen=True)
class TrainStyle(Subcommand):
    """Train a decoder behind a frozen encoder to give pictures the style of others: AdaIN, or with --affine the sandwich.

    It begins with a decoder's file, or with random weights and --reconstruct STEPS, in which it learns to give back contents
    first.
    Then: renorm stylize RUN --content PICTURE --style PAINTING --out FILE.

    Args:
        options: What to train.
        out: Folder of the run; by default one under runs/ named after the pictures.
        resume: Go on with the run in --out from its newest checkpoint, with the options it was started with.
    """

    options: Config = field(default_factory=Config)
    out: Path | None = None
    resume: bool = False

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.training import table, trained
        from renorm.recipes import check_typed
        from renorm.recipes.stylize import config_at

        config = self.options
        names = [Path(name).stem for name in (config.contents, config.styles)]
        folder = self.out or Path("runs") / "-".join(["style", *names, *["affine"] * config.affine, str(config.seed)])
        if self.resume:
            config = config_at(folder)
            check_typed(folder, config, self.options, console.typed)
        recipe = trained(config, folder, console, tell, resume=self.resume, device=self.common.device, words=words)
        if recipe.held is not None:  # pyright: ignore[reportAttributeAccessIssue] it is a recipe of style networks
            table(recipe, folder, 0, console)
        recipe.processes.leave()


def tell(recipe: Any, console: Console) -> None:
    """Say what is trained."""
    config = recipe.config
    kind = "a sandwich" if config.affine else "AdaIN"
    held = "nothing held out" if recipe.held is None else f"{len(recipe.held[0])} and {len(recipe.held[1])} held out"
    console.say(
        f"{kind}: {len(recipe.contents):,} contents of {recipe.contents.name}, {len(recipe.styles):,} styles of "
        f"{recipe.styles.name}, "
        f"{held}, {config.steps:,} steps of {config.batch}, {recipe.processes.device.type}, seed {config.seed}"
    )


def words(record: Mapping[str, float]) -> list[str]:
    """What a record says beside the loss."""
    names = ("reconstruction", "content", "style", "held out/content", "held out/style", "weight/mean")
    return [f"{name} {record[name]:.3f}" for name in names if name in record]
