"""``renorm show``: what a bank, or an adapter's file, is."""

from __future__ import annotations

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
    """Say what a bank is: what it was measured on, through which branch, its sites, its reference.

    A bank holds what every normalization layer (a site) of a model uses for one kind of input: means and variances, perhaps
    scales and offsets.

    Args:
        file: A bank, .safetensors.
        source: Another bank, as a rule that of the model before it was adapted; how far each site is from it is shown.
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

        bank = Bank.load(self.file)
        about = described(bank)
        width = max(map(len, about))
        for name, value in about.items():
            console.say(f"{name:{width}}  {value}")
        console.found(bank=about, sites={name: len(s.mean) for name, s in bank.sites.items()}, reference=bank.reference)
        if self.source:
            from renorm.report import bars

            moved = Bank.load(self.source).distance(bank)
            console.show(bars.distances(moved, title=f"how far each site is from {self.source}"))
            console.found(distance=moved)


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
