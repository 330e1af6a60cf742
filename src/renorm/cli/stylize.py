"""``renorm stylize``: pictures in the style of others."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro
from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand
from renorm.recipes.stylize import Manner

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Stylize(Subcommand):
    """Give pictures the style of others: a picture, a folder, or a Parquet file or folder, whose names and labels are kept.

    Pictures keep their size, whatever it is from 9 pixels a side on, and their transparency. What is written is there whole or
    not at all.

    Args:
        network: Folder of a run of train-style, or an encoder's file with --decoder.
        content: Pictures to stylize: a file, a folder, a Parquet file or folder.
        out: File or new folder to write.
        manner: What becomes of them.
        decoder: The decoder's file, for an encoder's: the community's decoder.pth beside vgg_normalised.pth, for instance.
        format: Write all as jpeg or png; by default as they were, and PNG where that is neither.
    """

    network: Annotated[Positional[str], tyro.conf.arg(metavar="NETWORK")]
    content: Path
    out: Path
    manner: Manner = field(default_factory=Manner)
    decoder: Path | None = None
    format: Literal["jpeg", "png"] | None = None

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.recipes.stylize import open_network, styling, stylize

        self.manner.check()
        made = styling(open_network(self.network, self.decoder, self.common.device), self.manner)
        styles = {style.name: style.weight for style in made.styles}
        about = {"command": console.invocation, "styles": styles, "alpha": self.manner.alpha}
        with console.progress("pictures") as bar:
            task = bar.add_task("stylize", total=None, numbers="")

            def show(done: int, total: int) -> None:
                bar.update(task, completed=done, total=total)

            number = stylize(made, self.content, self.out, format=self.format, about=about, callback=show)
        names = f"{len(styles)} styles, one drawn for each" if self.manner.draw else ", ".join(styles)
        console.say(f"{counted(number, 'picture')} in the style of {names}")
        console.found(pictures=number, styles=styles)
        console.done("stylized pictures", self.out)
