"""``renorm style``: a bank of one site from pictures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Style(Subcommand):
    """Measure the style of pictures together, and keep it as a bank: means and variances of an encoder's last features.

    A bank fits the encoder that measured it. How far two are apart: renorm show BANK --source OTHER.

    Args:
        network: Folder of a run of train-style, or an encoder's file.
        pictures: Of one style: files, folders, Parquet files.
        out: File to write, .safetensors.
        size: Scale pictures to this short side in pixels; by default they keep their size, which counts.
        memory: Gigabytes for a picture.
    """

    network: Annotated[Positional[str], tyro.conf.arg(metavar="NETWORK")]
    pictures: tuple[Path, ...]
    out: Path
    size: int | None = None
    memory: float = 2.0

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.targets import check_targets
        from renorm.recipes.stylize import measured, open_encoder, read_pictures

        check_targets({"out": self.out}, {"out": ".safetensors"})
        net = open_encoder(self.network, self.common.device)
        found = [one for path in self.pictures for one in read_pictures(net, path, self.size, self.memory)]
        bank = measured(net, found)
        bank.save(self.out)
        console.say(f"the style of {counted(len(found), 'picture')}: {bank.data}")
        console.found(pictures=len(found), data=bank.data)
        console.done("bank", self.out)
