"""What a classifier is trained on, and how: nested groups of options, of which one that is None is off.

Fields are options of the command line, as :mod:`renorm.recipes.flat` says. Nothing here needs torch, so that the command line
shows its options at once. Each group is checked beside its feature.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from renorm.recipes.classify.attacking import Attacking
from renorm.recipes.classify.groups import (
    Augmentation,
    Averaging,
    Computing,
    DataSource,
    Network,
    Optimization,
    Writing,
)
from renorm.recipes.classify.mix_options import MixOptions
from renorm.recipes.flat import Flat
from renorm.recipes.flat import configured as configured_of

if TYPE_CHECKING:
    import torch

    from renorm.data import View
    from renorm.train import Plan

PRETRAINED = "pretrained"
MODEL = "model"  # the only network, and its file in a checkpoint
ROWS = 256  # of a step
VIEW = "adv"  # of images that are attacked
BASE = "weak"  # the view that is attacked where no other branch has one
DOMAINS = "domains"
STYLIZED = "stylized"  # the view of images that renorm stylize made
USUAL = "weak"  # the view of an image that follows its domain


def attacks(options: Mapping[str, Any]) -> bool:
    """Whether a view is attacked."""
    return VIEW in (options["views"] or options["branches"])


@dataclass(frozen=True)
class Config:
    """What to train, on what and how.

    Args:
        source: Images.
        branches: Views of each image, one branch each: ``weak``, ``strong``, ``clean``; any names if ``views`` are
            given. The view ``adv`` is the first other branch's image (a weak one if there is none) attacked through
            the branch itself. ``domains`` alone makes a branch of each domain of the data: an image has one view, by
            default ``weak``, and follows its domain.
        domains: Those that are trained on where domains are the branches; by default all.
        views: The view of each branch, in order, where it is not called like its branch: ``--branches weak again
            --views weak weak`` trains on two weak views. Each branch draws its own random numbers, by its name.
        network: What trains.
        augmentation: How views are made.
        mix: Parts of other images; None mixes nothing.
        attack: What makes the view ``adv``, and what attacks in evaluation do by default; None where nothing is attacked.
        average: Averaged weights; None averages nothing.
        optimization: Steps.
        computing: How it is computed.
        writing: What is written.
        seed: Of the weights, the order and the views.
    """

    recipe: ClassVar[str] = "classify"
    source: DataSource = field(default_factory=DataSource)
    branches: tuple[str, ...] = ("weak", "strong")
    domains: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    network: Network = field(default_factory=Network)
    augmentation: Augmentation = field(default_factory=Augmentation)
    mix: MixOptions | None = field(default=None, metadata={"remedy": "--mix exchange"})
    attack: Attacking | None = field(default=None, metadata={"prefix": "attack_", "on": attacks})
    average: Averaging | None = field(default=None, metadata={"remedy": "--ema 0.999"})
    optimization: Optimization = field(default_factory=Optimization)
    computing: Computing = field(default_factory=Computing)
    writing: Writing = field(default_factory=Writing)
    seed: int = 0

    @property
    def rows(self) -> int:
        """Rows of one step, the views of all branches counted."""
        batch, number = self.optimization.batch, len(self.branches)
        return ROWS // number * number if batch is None else batch

    @property
    def examples(self) -> int:
        """Images of one step; each is seen once per branch."""
        return self.rows // len(self.branches)

    @property
    def view_names(self) -> tuple[str, ...]:
        """The name of each branch's view."""
        return self.views or ((USUAL,) if self.by_domain else self.branches)

    @property
    def by_domain(self) -> bool:
        """Whether branches are the domains of the data."""
        return self.branches == (DOMAINS,)

    @property
    def populations(self) -> tuple[str, ...]:
        """The branches of the model."""
        return self.domains if self.by_domain else self.branches

    @property
    def split(self) -> bool:
        """Whether the model has branches of its own."""
        return self.network.norm != "shared"

    @property
    def adversarial(self) -> bool:
        """Whether a branch trains on attacked images."""
        return VIEW in self.view_names

    @property
    def own_statistics(self) -> bool:
        """Whether each branch has statistics of its own."""
        return self.split and "statistics" not in self.network.share

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch has it."""
        import torch

        return torch.channels_last if self.computing.memory_format == "channels_last" else torch.contiguous_format

    @property
    def threat(self) -> Attacking:
        """What attacks may do, where there are any."""
        return self.attack or Attacking()

    def on(self, data: str) -> Config:
        """The same with other images."""
        return replace(self, source=replace(self.source, data=data))

    def views_by_branch(self, size: int) -> dict[str, View]:
        """The view of each branch for images of a size, of those whose images are loaded; others attack these."""
        from renorm.recipes.classify.adversarial import origin

        named = dict(zip(self.branches, self.view_names, strict=True))
        loaded = {branch: name for branch, name in named.items() if name != VIEW or branch == origin(self)}
        return {branch: self.view(BASE if name == VIEW else name, size) for branch, name in loaded.items()}

    def view(self, name: str, size: int) -> View:
        """One view, with this configuration's settings."""
        from renorm.data import view

        how = self.augmentation
        return view(
            BASE if name == STYLIZED else name,
            size,
            digits=self.source.data == "digits",
            policy=how.strong,
            num_ops=how.num_ops,
            magnitude=how.magnitude,
            crop=how.crop,
            cutout=how.cutout,
        )

    def least(self, processes: int = 1) -> int | None:
        """Images that the last, short step of an epoch must have; none if it is left out."""
        return self.optimization.accumulate * processes if self.optimization.keep_last else None

    def plan(self, num_images: int, processes: int = 1) -> Plan:
        """Length of the training."""
        from renorm.train import Plan, num_batches

        steps = num_batches(num_images, self.examples, self.least(processes))
        how = self.writing
        trackers = dict.fromkeys((*["tensorboard"] * how.tensorboard, *how.trackers))
        return Plan(self.optimization.epochs, steps, how.save_every, tuple(trackers))


class Options(Flat, of=Config):
    """What to train, on what and how."""


def configured(**given: Any) -> Config:
    """The configuration of flat options.

    Raises:
        TypeError: For an option that there is not.
        ValueError: For an option of a group that is off.
    """
    return configured_of(Config, **given)
