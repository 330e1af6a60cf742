"""Options of every command, and the commands' common shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Common:
    """Options of every command.

    Args:
        json: Print one JSON object with every number on standard output, and all else on standard error.
        quiet: Print nothing but errors.
        device: Compute on cpu, cuda, cuda:N or mps; by default on a GPU if there is one.
        config: File of options by their names, TOML or JSON; those that are typed win.
        debug: With an error, show where it arose.
    """

    json: bool = False
    quiet: bool = False
    device: str | None = None
    config: Path | None = None
    debug: bool = False


@dataclass(frozen=True, kw_only=True)
class Subcommand(ABC):
    """What can be typed after ``renorm``: options, and what they do."""

    common: Common = field(default_factory=Common)

    @property
    def computes(self) -> bool:
        """Whether a model runs, so that a device means something."""
        return True

    @abstractmethod
    def run(self, console: Console) -> None:
        """Run the command."""

    def check_device(self) -> None:
        """Refuse a device that there is not, or that nothing would compute on.

        Raises:
            ValueError: If so.
        """
        if self.common.device is None:
            return
        if not self.computes:
            raise ValueError(
                f"--device {self.common.device} with a command that runs no model: it would do nothing. Leave it out."
            )
        from renorm.train import device_of

        device_of(self.common.device)
