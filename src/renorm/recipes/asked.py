"""What is asked for when a model is evaluated; without torch, so that the command line shows its options at once.

One command evaluates the runs of all recipes, so their options stand side by side here; a kind says which of them it has.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal

from renorm.recipes.options import changed, option


@dataclass(frozen=True)
class ThreatOptions:
    """What the attacks among the shifts may do; by default what a run was trained with, else as published.

    Args:
        eps: Radius in units of 0 to 1, a number or a fraction: by default 8/255 for linf and 0.5 for l2.
        attack_ball: linf bounds the change of each value, l2 the length of the whole change; by default linf.
        attack_step_size: Length of a step of pgd; by default a quarter of the radius.
        attack_start: Start pgd at a random point near each image.
        attack_branch: Attack this branch, or bank as of --banks, whichever is evaluated; by default each is attacked itself.
    """

    eps: str | None = None
    attack_ball: Literal["linf", "l2"] | None = None
    attack_step_size: str | None = None
    attack_start: bool = True
    attack_branch: str | None = None


@dataclass(frozen=True)
class Exporting:
    """What to export; runs of some recipes have some of these alone, and refuse the others.

    Args:
        branch: Which one, if the model has several; with a bank file, the branch to put it in.
        bank: Statistics other than a branch's own: of a view through a branch's affine (clean@BRANCH), a mixture such as
            weak:0.7+strong:0.3, or a bank file, say an adapted one.
        size: Side of the images in pixels; by default the one the model was trained on.
        normalize: Make the input normalization part of the program, so that it takes images in [0, 1].
        train: Training images, which clean@ banks are measured on; a run knows its own.
        seed: Of their draw.
    """

    branch: str | None = None
    bank: str | None = None
    size: int | None = None
    normalize: bool = False
    train: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Evaluation:
    """What to evaluate; runs of some recipes have some of these alone, and refuse the others.

    Args:
        data: Images to evaluate on; a run knows its own.
        skip_damaged: Leave out images of --data that cannot be read, and say how many; all are tried first.
        train: Training images, which clean@ banks are measured on; a run knows its own.
        banks: Branches, statistics of a view through a branch's affine (clean@BRANCH, weak@BRANCH), mixtures such as
            weak:0.7+strong:0.3, or bank files; by default all branches, clean@ for each, and the even mixture of two. A
            model without branches has the bank source. Of a generator: real, recalibrated, running, batch:N, truncated:T and
            bank files; by default the first three, batch:64 and truncated:1.
        shifts: clean, weak, strong; quick (4 corruptions), standard (15), held-out (4), corruptions (19) or a corruption's
            name, perhaps with a severity (contrast:3, standard:5); an attack, fgsm, pgd:20 (20 steps), autoattack or
            torchattacks:NAME; domains, or the name of a domain of the data; a folder of shifted images (CIFAR-10-C, ImageNet-C,
            -R, ...). By default clean weak strong quick, and pgd:10 for a model that was trained under attack, domains
            for one whose branches they are.
        scale: Whose severities: those published for images of 32, 64 or 224 pixels; by default the nearest to the images.
        rounding: What becomes of corrupted pixels: 8-bit rounds them as published files are; none keeps them as computed;
            jpeg also codes them, as ImageNet-C is.
        num_images: Evaluate on so many test images, drawn with the seed; 0 for all. Of a generator so many pictures and real
            images, as far as there are; 0 for 2,000.
        adapt: Also evaluate banks adapted to each shift from so many of its images; 0 for none.
        prior: How many images the source bank counts for when adapting; auto, the default, reads it off the images of each
            shift, and keeps the source where what they show may be chance.
        seed: Of the draw, the shifts and the intervals.
        alexnet: Whose errors of AlexNet the mean corruption error is relative to: imagenet, cifar10 or cifar100; by default
            those of the data, if these are among them.
        features: Of a generator: whose features pictures are compared in: own, a small classifier that is trained on the run's
            images once and kept in its folder, the default; efficientnet-lite0; the folder of a classifier's run; or timm:NAME,
            torchvision:NAME.
        attacks: What the attacks among the shifts may do.
    """

    data: str | None = None
    skip_damaged: bool = False
    train: str | None = None
    banks: tuple[str, ...] = ()
    shifts: tuple[str, ...] = ()
    scale: Literal[32, 64, 224] | None = None
    rounding: Literal["8-bit", "none", "jpeg"] = "8-bit"
    num_images: int = 0
    adapt: int = 0
    prior: float | Literal["auto"] = "auto"
    seed: int = 0
    alexnet: str | None = None
    features: str | None = None
    attacks: ThreatOptions = field(default_factory=ThreatOptions)

    def check(self) -> None:
        """Refuse what cannot be, before anything is read.

        Raises:
            ValueError: A negative number of images, an option without the one that it is about, or an unknown reference.
        """
        for name, value in (("num-images", self.num_images), ("adapt", self.adapt)):
            if value < 0:
                raise ValueError(f"--{name} {value}: a number of images is needed. Name one, or leave it out.")
        if self.skip_damaged and self.data is None:
            raise ValueError(
                "--skip-damaged without --data: it would do nothing, as a run's own images are read as they were for its "
                "training. Name images by --data, or leave it out."
            )
        if self.prior != Evaluation.prior and not self.adapt:
            raise ValueError(
                f"--prior {self.prior} without --adapt: no bank is adapted. Add --adapt 32, or leave it out."
            )
        if self.alexnet is not None:
            from renorm.metrics import alexnet

            alexnet(self.alexnet)


def check_known(asked: Evaluation | Exporting, recipe: str, known: Collection[str]) -> None:
    """Refuse options that runs of a recipe do not have.

    Args:
        asked: With all options.
        recipe: Its name.
        known: Names of the options that it has.

    Raises:
        ValueError: If another was given.
    """
    if others := changed(asked, known=known):
        raise ValueError(
            f"{others} with a run of the recipe {recipe!r}: of such options its runs have "
            f"{', '.join(option(name, True) for name in known) or 'none'}. Leave the others out."
        )
