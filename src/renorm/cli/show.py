"""``renorm show``: what a run, a bank or a file of weights is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import counted
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.banks import Bank
    from renorm.cli.console import Console


@dataclass(frozen=True)
class Show(Subcommand):
    """Say what a run, a bank or a file of weights is.

    A bank holds what every normalization layer (a site) of a model uses for one kind of input: means and variances, perhaps
    scales and offsets. Of a bank it is said what it was measured on, through which branch, its sites, its reference.

    Args:
        file: Folder of a run, a bank, or weights.
        source: With a bank, another one, as a rule that of before adapting; how far each site is from it is shown.
    """

    file: Positional[Path]
    source: Path | None = None

    @property
    def computes(self) -> bool:
        """Whether a model runs."""
        return False

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.banks import Bank
        from renorm.models import described_weights, is_weights
        from renorm.recipes import described_run

        other = "run" if self.file.is_dir() else "weights" if is_weights(self.file) else ""
        if other and self.source:
            raise ValueError(f"--source with {self.file}, which is no bank: it would do nothing. Leave it out.")
        if other:
            about = described_run(self.file) if other == "run" else described_weights(self.file)
            tell(about, console)
            console.found(**{other: about})
            return
        bank = Bank.load(self.file)
        about = described(bank)
        tell(about, console)
        console.found(bank=about, sites={name: len(s.mean) for name, s in bank.sites.items()}, reference=bank.reference)
        if self.source:
            from renorm.report import bars

            moved = Bank.load(self.source).distance(bank)
            console.show(bars.distances(moved, title=f"how far each site is from {self.source}"))
            console.found(distance=moved)


def tell(about: Mapping[str, str], console: Console) -> None:
    """Print names and what they are, in two columns."""
    width = max(map(len, about))
    for name, value in about.items():
        console.say(f"{name:{width}}  {value}")


def described(bank: Bank) -> dict[str, str]:
    """A bank in words."""
    channels = sum(len(site.mean) for site in bank.sites.values())
    affine = sum(site.weight is not None for site in bank.sites.values())
    found = {
        "what": "a bank: the statistics that each site normalizes by",
        "sites": f"{len(bank.sites)}, {counted(channels, 'channel')}",
        "scales and offsets": f"of {counted(affine, 'site')}" if affine else "none",
        "branch": str(bank.branch or "none: of a plain model, or of what all branches share"),
        "images": "unknown" if bank.samples is None else f"{bank.samples:,}",
        "measured on": bank.data or "not said",
        "weights it fits": (bank.weights or "not said")[:16],
    }
    if bank.unreached:
        found["without"] = ", ".join(bank.unreached)
    if bank.reference is not None:
        known = ", ".join(f"{name} {far:.2f}" for name, far in bank.reference["known"].items())
        found["reference"] = f"{counted(bank.reference['samples'], 'image')} of the normal condition"
        if known:
            found["reference"] += f"; farther than these by, in standard deviations of the source: {known}"
    return found
