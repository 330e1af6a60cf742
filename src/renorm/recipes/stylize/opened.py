"""A style network by its run, or by the files of an encoder and a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renorm.banks import Bank
from renorm.models import Decoder, Stylizer, load_encoder
from renorm.recipes.flat import read_config
from renorm.recipes.started import about_of, on
from renorm.recipes.stylize.config import Config
from renorm.train import Run

NETWORK = "stylizer"


@dataclass(frozen=True)
class StyleNetwork:
    """A style network in evaluation mode.

    Args:
        net: The network.
        about: What its run says.
    """

    net: Stylizer
    about: Mapping[str, Any]

    @property
    def config(self) -> Config:
        """How it was trained."""
        return read_config(Config, self.about)

    def banks(self) -> dict[str, Bank]:
        """None: styles are measured when they are asked for."""
        return {}


def config_at(path: Path) -> Config:
    """How the run in a folder was started.

    Raises:
        FileNotFoundError: If there is no run.
        ValueError: If it is of another recipe.
    """
    return read_config(Config, about_style(path))


def about_style(path: Path) -> dict[str, Any]:
    """What a run of this recipe says of itself."""
    return about_of(path, Config.recipe, "renorm train-style makes it, or an encoder's file with --decoder FILE")


def open_run(path: Path, device: str | None = None) -> StyleNetwork:
    """The newest checkpoint of a run, which has its encoder too.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If it is damaged, or of another recipe.
    """
    about = about_style(path)
    net = Stylizer.of_tensors(Run(path).load().weights[NETWORK])
    return StyleNetwork(net.to(on(device)), about)


def open_network(name: str | Path, decoder: Path | None = None, device: str | None = None) -> Stylizer:
    """The style network of a run, of a file that holds all of it, or of an encoder's file with its decoder's.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If a decoder is missing, or given where it would do nothing.
    """
    if not Path(name).is_dir():
        return Stylizer.load(name, decoder).to(on(device))
    if decoder is not None:
        raise ValueError(
            f"--decoder {decoder} with {name}, a run, which has its own: it would do nothing. Leave it out, or name the "
            f"encoder's file."
        )
    return open_run(Path(name), device).net


def open_encoder(name: str | Path, device: str | None = None) -> Stylizer:
    """What measures styles: a network by its run or file, or an encoder's file alone, behind which the decoder is not trained.

    Raises:
        FileNotFoundError: If there is nothing.
        ValueError: If it is nothing of the kind.
    """
    if Path(name).is_dir():
        return open_run(Path(name), device).net
    encoder = load_encoder(name)
    return Stylizer(encoder, Decoder(encoder.widths)).eval().to(on(device))
