"""``renorm doctor``: what is the matter with a model's normalization."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.model import ModelOptions
from renorm.cli.options import Subcommand

if TYPE_CHECKING:
    from renorm.cli.console import Console
    from renorm.diagnosis import Diagnosis, Finding

STYLES = {"error": "bold red", "warning": "yellow", "note": "dim"}


@dataclass(frozen=True)
class Doctor(Subcommand):
    """Say what is the matter with a model's normalization layers, and what to type against it. Nothing is changed.

    It looks for statistics that are NaN, were never updated or have no variance, momentum, modes, layers at several places; with
    images also for layers that an evaluation does not reach, dropout before them, and how far the images are from what the
    model stores. It also says what each verb would do with the model, and what it computes with.

    Args:
        model: Folder of a run, a file that renorm wrote, or a model's name (timm:NAME, torchvision:NAME, resnet20, ...).
        images: Folder of images, Parquet file or folder, or digits; labels are not used.
        reference: Images of the normal condition, as --images, or a bank file that keeps a reference.
        num_images: Look at so many, drawn with the seed; by default 32, or all if there are fewer.
        branch: Whose statistics the images are compared with, if the model has several.
        seed: Of the draw.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    images: str | None = None
    reference: str | None = None
    num_images: int | None = None
    branch: str | None = None
    seed: int = 0
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self, console: Console) -> None:
        """Run the command."""
        self.check()
        named = self.source.open(self.model, self.common.device)
        model = named.classifier.model
        if self.images is None:
            from renorm.diagnosis import diagnose

            report = diagnose(model)
        else:
            from renorm.cli.adaptation import pixels
            from renorm.cli.adapted import reference_at
            from renorm.diagnosis import diagnose
            from renorm.evaluate import divide

            branch = named.branch(self.branch)
            few, _ = divide(named.images(self.images, labels=False), self.num_images, self.seed)
            usual = reference_at(self.reference, named, branch, self.seed) if self.reference else None
            report = diagnose(model, pixels(named, few), reference=usual, branch=branch)
        self.tell(report, console)

    def check(self) -> None:
        """Refuse options that would do nothing without images."""
        given = [name for name in ("reference", "num_images", "branch") if getattr(self, name) is not None]
        if given and self.images is None:
            from renorm.recipes import option

            raise ValueError(
                f"{option(given[0], True)} without --images: it says how images are looked at. Add --images, or leave it out."
            )

    def tell(self, report: Diagnosis, console: Console) -> None:
        """Print what was found, the gravest first."""
        norms = ", ".join(f"{number} {name}" for name, number in report.norms.items()) or "none"
        console.say(f"norms: {norms}" + (f"; branches {', '.join(report.branches)}" if report.branches else ""))
        for name, text in report.verbs.items():
            console.say(f"{name}: {text}")
        console.say(", ".join(f"{name} {value}" for name, value in report.environment.items()), style="dim")
        for finding in report.findings:
            console.say("")
            console.say(finding.headline, style=STYLES[finding.gravity])
            console.say(finding.text)
            console.say(f"  {self.command(finding) or finding.remedy}")
        if not report.findings:
            console.say("nothing is the matter", style="green")
        console.found(
            **{name: getattr(report, name) for name in ("norms", "branches", "verbs", "findings", "environment")}
        )

    def command(self, finding: Finding) -> str:
        """The line to type against it, with the model as it was typed."""
        weights = f" --weights {self.source.weights}" if self.source.weights else ""
        folder = self.images or "FOLDER"
        return finding.command.replace("MODEL", f"{self.model}{weights}").replace("FOLDER", folder)
