"""What a classifier is trained on, and how: the options of ``renorm train``."""

import difflib
import math
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

import torch

from renorm.attacks import BETA, Ball, Mode
from renorm.data import VIEWS as DATA_VIEWS
from renorm.data import Crop, Images, Policy, View
from renorm.data import view as view_of
from renorm.recipes.classify.adversarial import BASE, VIEW, AdvLoss, attacked_branches, check_attack, origin
from renorm.recipes.classify.domains import DOMAINS, USUAL, check_domains
from renorm.recipes.classify.mixing import ExchangeOver, Kind, check_mix, check_partners
from renorm.routing import check_names
from renorm.train import Plan, num_batches

PRETRAINED = "pretrained"
MODEL = "model"  # the only network, and its file in a checkpoint
VIEWS = (*DATA_VIEWS, VIEW)
ROWS = 256  # of a step
Precision = Literal["no", "bf16"]


@dataclass(frozen=True)
class Config:
    """What to train, on what and how.

    Args:
        data: ``digits``, ``cifar10``, ``cifar100``, a folder of images, or a Parquet file or folder in the Hugging Face
            layout.
        test: Images to validate on, likewise; by default the split ``test`` of ``data``.
        download: Fetch ``cifar10`` or ``cifar100`` if it is not there.
        size: Side in pixels that all images get; by default small images keep theirs and larger ones get 224.
        model: ``resnet20``, ``resnet56``, ``wrn-28-2``, ..., ``timm:NAME`` or ``torchvision:NAME``.
        weights: Weights to start from: a safetensors file that fits, of a plain model or of the same branches, or
            ``pretrained`` for those that timm or torchvision has. By default random ones.
        branches: Views of each image, one branch each: ``weak``, ``strong``, ``clean``; any names if ``views`` are given. The
            view ``adv`` is the first other branch's image (a weak one if there is none) attacked through the branch itself.
            ``domains`` alone makes a branch of each domain of the data: an image has one view, by default ``weak``, and follows
            its domain.
        domains: Those that are trained on where domains are the branches; by default all.
        views: The view of each branch, in order, where it is not called like its branch: ``--branches weak again
            --views weak weak`` trains on two weak views. Each branch draws its own random numbers, by its name.
        norm: ``split`` gives each branch its own statistics and affine; ``sandwich`` its own statistics, and an affine of its own
            on top of one for all, none of which decays; ``shared`` is the plain model on the same batches.
        share: What branches have in common all the same: ``statistics``, ``affine``.
        sandwich_init: Where the affines of sandwich norms start: ``identity``, or ``published``, scales drawn from N(1, 0.02),
            for a model that is trained from random weights.
        sync_bn: Normalize by the batches of all processes together. Without it each normalizes by its own, and running
            statistics are pooled over processes before they are used.
        strong: Policy of the strong view.
        num_ops: Operations per image of RandAugment, or per chain of AugMix; by default the published number.
        magnitude: Of RandAugment, 0 to 30, or severity of AugMix, 1 to 10; by default the published one.
        crop: ``padded`` moves images by a few pixels, ``resized`` takes random parts of any size, as usual on ImageNet;
            ``auto`` takes the latter above 96 pixels.
        cutout: Side of the square cut out of the strong view, as a share of the image's; by default 0.5, but 0 with
            resized crops.
        mix: Give images parts of others, and parts of their labels: ``exchange`` moments of features, paste boxes
            (``cutmix``), average images (``mixup``), or ``exchange+cutmix``; by default nothing is mixed. Partners are drawn
            for each forward, what is done to them once for each step, in each process by itself. The loss weighs labels as
            they were mixed, and the accuracy in training is the share of the labels that was predicted.
        mix_across: Mix the views of all branches with each other; by default partners are views of one branch.
        exchange_weight: Share of its own label that an image keeps where its moments are exchanged; by default as
            published, 0.5 up to 96 pixels (from CIFAR) and 0.9 above (ImageNet), as is all that follows.
        exchange_probability: Of a step that exchanges: 0.25; above 96 pixels 1 without CutMix.
        exchange_over: Whose moments: ``pono`` (each position), ``in`` (each channel), ``ln`` (each image), or those of groups of
            channels, ``gpono`` and ``gn``; by default ``pono``, as published for images.
        exchange_groups: Groups of ``gn`` and ``gpono``.
        exchange_after: Layer after which to exchange; by default the end of the stem where the kind of model is known.
        exchange_before: Or before which.
        exchange_channel_dim: Where channels are at that layer; -1 for tokens.
        image_beta: Boxes and averages weigh as a number from Beta(b, b): 1; for ``mixup`` above 96 pixels 0.2.
        image_probability: Of a step with mixed images: 1; for CutMix up to 96 pixels 0.5.
        eps: Radius of the attack that makes the view ``adv``, in units of 0 to 1, a number or a fraction: by default 8/255 for
            ``linf`` and 0.5 for ``l2``. Attacks in evaluation have it by default too, as they have norm and step size.
        attack_ball: ``linf`` bounds the change of each value, ``l2`` the length of the whole change.
        attack_steps: Steps of projected gradient descent; 1 with ``--attack-step-size`` of the radius is the fast gradient
            method.
        attack_step_size: Length of a step; by default a quarter of the radius.
        attack_start: Start at a random point near each image.
        attack_mode: ``eval`` attacks the model as it predicts, and moves no statistics. ``train`` attacks it in training mode
            as the authors of sandwich batch norm do: each step normalizes by the attacked batch and moves the attacked branch's
            running statistics once more.
        adv_loss: ``cross-entropy`` of each branch, and their mean; or ``trades``: the mean over other branches, plus
            ``trades_beta`` times how far predictions of attacked images are from those of the images.
        trades_beta: Its weight.
        epochs: Passes over the data.
        batch: Rows of one step over all processes, the views of all branches counted: a multiple of the number of branches; by
            default 256, or the nearest below.
        accumulate: Divide each step into so many forwards, to need less memory. The gradient is that of the whole batch,
            but norms see the statistics of each forward.
        keep_last: Train on the last, short batch of an epoch too, if each forward of each process gets an image of it.
        rate: Highest learning rate (SGD with Nesterov momentum).
        warmup: Epochs in which the rate grows.
        momentum: Of SGD.
        weight_decay: Of all parameters, or of those ``decay_norms`` leaves.
        decay_norms: Whether norms and biases, all 1-d parameters, decay too.
        label_smoothing: Share of each target that is spread over all classes.
        ema: Validate and keep the exponential moving average of the weights with this decay, say 0.999. Its statistics are
            measured again for every validation and checkpoint, on ``ema_images`` training images under each branch's view.
        ema_images: How many, in whole batches like a step's.
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
        precision: ``bf16`` computes in mixed precision; weights, statistics and the loss stay in float32.
        memory_format: ``channels_last`` is faster on most GPUs.
        compile: Train through ``torch.compile``.
        tensorboard: Write the numbers of each epoch as TensorBoard events too, under ``tensorboard`` in the run.
        num_workers: Processes that prepare views; the numbers do not depend on it.
        seed: Of the weights, the order and the views.
    """

    recipe: ClassVar[str] = "classify"
    data: str = "digits"
    test: str | None = None
    download: bool = False
    size: int | None = None
    model: str = "resnet20"
    weights: str | None = None
    branches: tuple[str, ...] = ("weak", "strong")
    domains: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    norm: Literal["split", "sandwich", "shared"] = "split"
    share: tuple[Literal["statistics", "affine"], ...] = ()
    sandwich_init: Literal["identity", "published"] = "identity"
    sync_bn: bool = False
    strong: Policy = "randaugment"
    num_ops: int | None = None
    magnitude: int | None = None
    crop: Crop = "auto"
    cutout: float | None = None
    mix: Kind | None = None
    mix_across: bool = False
    exchange_weight: float | None = None
    exchange_probability: float | None = None
    exchange_over: ExchangeOver | None = None
    exchange_groups: int | None = None
    exchange_after: str | None = None
    exchange_before: str | None = None
    exchange_channel_dim: int = 1
    image_beta: float | None = None
    image_probability: float | None = None
    eps: str | None = None
    attack_ball: Ball = "linf"
    attack_steps: int = 7
    attack_step_size: str | None = None
    attack_start: bool = True
    attack_mode: Mode = "eval"
    adv_loss: AdvLoss = "cross-entropy"
    trades_beta: float = BETA
    epochs: int = 30
    batch: int | None = None
    accumulate: int = 1
    keep_last: bool = False
    rate: float = 0.1
    warmup: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    decay_norms: bool = True
    label_smoothing: float = 0.0
    ema: float | None = None
    ema_images: int = 2048
    save_every: int = 0
    precision: Precision = "no"
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    compile: bool = False
    tensorboard: bool = False
    num_workers: int = 0
    seed: int = 0

    @property
    def rows(self) -> int:
        """Rows of one step, the views of all branches counted."""
        return ROWS // len(self.branches) * len(self.branches) if self.batch is None else self.batch

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
        return self.norm != "shared"

    @property
    def adversarial(self) -> bool:
        """Whether a branch trains on attacked images."""
        return bool(attacked_branches(self))

    @property
    def own_statistics(self) -> bool:
        """Whether each branch has statistics of its own."""
        return self.split and "statistics" not in self.share

    @property
    def layout(self) -> torch.memory_format:
        """The memory format as torch has it."""
        return torch.channels_last if self.memory_format == "channels_last" else torch.contiguous_format

    def views_by_branch(self, size: int) -> dict[str, View]:
        """The view of each branch for images of a size, of those whose images are loaded; others attack these."""
        named = dict(zip(self.branches, self.view_names, strict=True))
        loaded = {branch: name for branch, name in named.items() if name != VIEW or branch == origin(self)}
        return {branch: self.view(BASE if name == VIEW else name, size) for branch, name in loaded.items()}

    def view(self, name: str, size: int) -> View:
        """One view, with this configuration's settings."""
        return view_of(
            name,
            size,
            digits=self.data == "digits",
            policy=self.strong,
            num_ops=self.num_ops,
            magnitude=self.magnitude,
            crop=self.crop,
            cutout=self.cutout,
        )

    def least(self, processes: int = 1) -> int | None:
        """Images that the last, short step of an epoch must have; none if it is left out."""
        return self.accumulate * processes if self.keep_last else None

    def plan(self, num_images: int, processes: int = 1) -> Plan:
        """Length of the training."""
        steps = num_batches(num_images, self.examples, self.least(processes))
        return Plan(self.epochs, steps, self.save_every, self.tensorboard)


def check(config: Config, images: Images, processes: int = 1) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        ValueError: For an unknown or repeated branch, a batch that does not divide, too few images, no labels, or a number
            out of its range.
    """
    _check_branches(config, images)
    _check_batch(config, images, processes)
    _check_ranges(config)
    _check_init(config)
    check_mix(config)
    check_partners(config, processes)
    check_attack(config)
    check_domains(config, processes)
    if not images.classes or int(images.labels.min()) < 0:
        raise ValueError(
            f"{images.name} has no labels: training needs a class for every image. Put images into one folder per class, "
            "or use Parquet with a label column."
        )


def _check_branches(config: Config, images: Images) -> None:
    branches = check_names(config.branches)
    if len(config.view_names) != len(branches):
        raise ValueError(
            f"{len(config.views)} views ({', '.join(config.views)}) for the {len(branches)} branches {', '.join(branches)}: "
            "each branch needs one. Name as many --views, or leave them out where branches are called like their views."
        )
    for name in config.view_names:
        if name not in VIEWS:
            close = difflib.get_close_matches(name, VIEWS, n=1, cutoff=0.4)
            meant = f"Did you mean {close[0]!r}?" if close else "Choose one of them."
            raise ValueError(f"no view makes the branch {name!r}: one of {', '.join(VIEWS)} is needed. {meant}")
    size = images[0][0].shape[-1]
    config.views_by_branch(size)
    config.view("strong", size)  # evaluated with, whether it is trained on or not


def check_idle(config: Config) -> None:
    """Refuse options that would do nothing.

    Raises:
        ValueError: One of an attack, of TRADES, of averaging or of branches, without these.
    """
    attack = ("attack_steps", "attack_start", "attack_mode")
    for names, idle, given, remedy in (
        (("share",), not config.split, f"--norm {config.norm}, in which all is shared", "--norm split"),
        (attack, not config.adversarial, f"no branch with the view {VIEW}", f"--branches clean {VIEW}"),
        (("trades_beta",), config.adv_loss != "trades", f"--adv-loss {config.adv_loss}", "--adv-loss trades"),
        (("ema_images",), config.ema is None, "no --ema", "--ema 0.999"),
    ):
        idly = [option(name, getattr(config, name)) for name in names if getattr(config, name) != getattr(Config, name)]
        if idle and idly:
            raise ValueError(f"{idly[0]} with {given}: it would do nothing. Leave it out, or add {remedy}.")


def option(name: str, value: object) -> str:
    """A field as the command line has it.

    Example:
        >>> option("attack_start", False), option("ema_images", 64)
        ('--no-attack-start', '--ema-images')
    """
    return f"--{'no-' if value is False else ''}{name.replace('_', '-')}"


def changed(options: Any) -> str:
    """Those of a group of options that are not as they are by default, as the command line has them."""
    values = {each.name: getattr(options, each.name) for each in fields(options)}
    return ", ".join(
        option(each.name, values[each.name]) for each in fields(options) if values[each.name] != each.default
    )


def _check_batch(config: Config, images: Images, processes: int) -> None:
    branches = config.branches
    if config.rows % len(branches) or config.rows < 1:
        lower = max(1, config.rows // len(branches)) * len(branches)
        raise ValueError(
            f"a batch of {config.rows} does not divide among the {len(branches)} branches {', '.join(branches)}: "
            f"each needs as many rows. Use --batch {lower} or another multiple of {len(branches)}."
        )
    if len(images) < config.examples:
        raise ValueError(
            f"{len(images)} training images in {images.name}: one step needs {config.examples}. Lower --batch to "
            f"{len(images) * len(branches)} or less."
        )
    if config.accumulate < 1 or config.examples < config.accumulate * processes:
        raise ValueError(
            f"--accumulate {config.accumulate} on {processes} process{'es' * (processes > 1)} divides the {config.examples} "
            f"images of a step: each forward needs one. Use 1 to {max(1, config.examples // processes)}, or a larger --batch."
        )


def _check_init(config: Config) -> None:
    if config.sandwich_init == "identity":
        return
    if config.norm != "sandwich" or config.weights is not None:
        given = f"--norm {config.norm}" if config.norm != "sandwich" else f"--weights {config.weights}"
        raise ValueError(
            f"--sandwich-init {config.sandwich_init} with {given}: it draws the affines of sandwich norms of a model that starts "
            "from random weights. Leave it out."
        )


def _check_ranges(config: Config) -> None:
    for name, value, good, needed in (
        ("--epochs", config.epochs, config.epochs >= 1, "1 or more are needed. Leave it out for 30."),
        ("--rate", config.rate, 0 < config.rate < math.inf, "a number above 0 is needed. Leave it out for 0.1."),
        ("--warmup", config.warmup, 0 <= config.warmup < math.inf, "0 or more epochs are needed. Leave it out for 1."),
        (
            "--momentum",
            config.momentum,
            0 <= config.momentum < 1,
            "from 0 to 1, without 1, is needed. Leave it out for 0.9.",
        ),
        ("--weight-decay", config.weight_decay, 0 <= config.weight_decay < math.inf, "0 or more is needed. Try 5e-4."),
        (
            "--save-every",
            config.save_every,
            config.save_every >= 0,
            "0 or more steps are needed. Leave it out for each epoch.",
        ),
        (
            "--num-workers",
            config.num_workers,
            config.num_workers >= 0,
            "0 or more processes are needed. Leave it out for 0.",
        ),
        (
            "--ema",
            config.ema,
            config.ema is None or 0 < config.ema < 1,
            "a decay between 0 and 1 is needed. Try 0.999.",
        ),
        ("--ema-images", config.ema_images, config.ema_images >= 1, "at least 1 is needed. Leave it out for 2048."),
        (
            "--label-smoothing",
            config.label_smoothing,
            0 <= config.label_smoothing < 1,
            "a share from 0 to 1, without 1, is needed. Try 0.1.",
        ),
        (
            "--precision",
            config.precision,
            config.precision in get_args(Precision),
            "no or bf16 is needed, as the small range of fp16 would need its loss scaled. Use bf16.",
        ),
    ):
        if not good:
            raise ValueError(f"{name} {value}: {needed}")
