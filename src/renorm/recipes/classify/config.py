"""What a classifier is trained on, and how: nested groups of options, of which one that is None is off.

A field is an option of the command line: under its own name after the prefix of its group, or as ``flat`` says. Nothing here
needs torch, so that the command line shows its options at once. Each group is checked beside its feature.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Literal

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

Norm = Literal["split", "sandwich", "shared"]
Shared = Literal["statistics", "affine"]
SandwichInit = Literal["identity", "published"]
StrongPolicy = Literal["randaugment", "autoaugment", "trivialaugment", "augmix"]
CropName = Literal["auto", "padded", "resized"]
MixKind = Literal["exchange", "cutmix", "mixup", "exchange+cutmix"]
ExchangeOver = Literal["pono", "in", "ln", "gn", "gpono"]
AttackBall = Literal["linf", "l2"]
AttackMode = Literal["eval", "train"]
AdvLoss = Literal["cross-entropy", "trades"]
Precision = Literal["no", "bf16", "fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]


@dataclass(frozen=True)
class DataSource:
    """Images.

    Args:
        data: ``digits``, ``cifar10``, ``cifar100``, a folder of images, or a Parquet file or folder in the Hugging
            Face layout.
        test: Images to validate on, likewise; by default the split ``test`` of ``data``.
        download: Fetch ``cifar10`` or ``cifar100`` if it is not there.
        size: Side in pixels that all images get; by default small images keep theirs and larger ones get 224.
        skip_damaged: Leave out images that cannot be read, and say how many; all are tried first.
    """

    data: str = "digits"
    test: str | None = None
    download: bool = False
    size: int | None = None
    skip_damaged: bool = False


@dataclass(frozen=True)
class Network:
    """A network, the weights it starts from, and its norms.

    Args:
        model: ``resnet20``, ``resnet56``, ``wrn-28-2``, ..., ``timm:NAME`` or ``torchvision:NAME``.
        weights: Weights to start from: a safetensors file that fits, of a plain model or of the same branches, or
            ``pretrained`` for those that timm or torchvision has. By default random ones.
        no_ema: Of averaged (EMA) and other weights in that file take the others.
        norm: ``split`` gives each branch its own statistics and affine; ``sandwich`` its own statistics, and an
            affine of its own on top of one for all, none of which decays; ``shared`` is the plain model on the same
            batches.
        share: What branches have in common all the same: ``statistics``, ``affine``.
        sandwich_init: Where the affines of sandwich norms start: ``identity``, or ``published``, scales drawn from
            N(1, 0.02), for a model that is trained from random weights.
        sync_bn: Normalize by the batches of all processes together. Without it each normalizes by its own, and
            running statistics are pooled over processes before they are used.
    """

    model: str = "resnet20"
    weights: str | None = None
    no_ema: bool = False
    norm: Norm = "split"
    share: tuple[Shared, ...] = ()
    sandwich_init: SandwichInit = "identity"
    sync_bn: bool = False


@dataclass(frozen=True)
class Augmentation:
    """How views are made.

    Args:
        strong: Policy of the strong view.
        num_ops: Operations per image of RandAugment, or per chain of AugMix; by default the published number.
        magnitude: Of RandAugment, 0 to 30, or severity of AugMix, 1 to 10; by default the published one.
        crop: ``padded`` moves images by a few pixels, ``resized`` takes random parts of any size, as usual on
            ImageNet; ``auto`` takes the latter above 96 pixels.
        cutout: Side of the square cut out of the strong view, as a share of the image's; by default 0.5, but 0 with
            resized crops.
        stylized: What the view stylized shows, cut as in the weak view: a copy of the data that renorm stylize made, whose images
            are paired with these by path.
    """

    strong: StrongPolicy = "randaugment"
    num_ops: int | None = None
    magnitude: int | None = None
    crop: CropName = "auto"
    cutout: float | None = None
    stylized: str | None = None


@dataclass(frozen=True)
class Exchange:
    """The exchange of moments.

    Args:
        weight: Share of its own label that an image keeps where its moments are exchanged; by default as published,
            0.5 up to 96 pixels (from CIFAR) and 0.9 above (ImageNet), as is all that follows.
        probability: Of a step that exchanges: 0.25; above 96 pixels 1 without CutMix.
        over: Whose moments: ``pono`` (each position), ``in`` (each channel), ``ln`` (each image), or those of groups
            of channels, ``gpono`` and ``gn``; by default ``pono``, as published for images.
        groups: Groups of ``gn`` and ``gpono``.
        after: Layer after which to exchange; by default the end of the stem where the kind of model is known.
        before: Or before which.
        channel_dim: Where channels are at that layer; -1 for tokens.
    """

    weight: float | None = None
    probability: float | None = None
    over: ExchangeOver | None = None
    groups: int | None = None
    after: str | None = None
    before: str | None = None
    channel_dim: int = 1


@dataclass(frozen=True)
class ImageMix:
    """Images that are mixed.

    Args:
        beta: Boxes and averages weigh as a number from Beta(b, b): 1; for ``mixup`` above 96 pixels 0.2.
        probability: Of a step with mixed images: 1; for CutMix up to 96 pixels 0.5.
    """

    beta: float | None = None
    probability: float | None = None


@dataclass(frozen=True)
class MixOptions:
    """Parts of other images, and of their labels.

    Args:
        kind: Give images parts of others, and parts of their labels: ``exchange`` moments of features, paste boxes
            (``cutmix``), average images (``mixup``), or ``exchange+cutmix``; by default nothing is mixed. Partners
            are drawn for each forward, what is done to them once for each step, in each process by itself. The loss
            weighs labels as they were mixed, and the accuracy in training is the share of the labels that was
            predicted.
        across: Mix the views of all branches with each other; by default partners are views of one branch.
        exchange: Its settings, where moments are exchanged.
        image: Its settings, where images are mixed.
    """

    kind: MixKind = field(metadata={"flat": "mix"})
    across: bool = field(default=False, metadata={"flat": "mix_across"})
    exchange: Exchange = field(default_factory=Exchange, metadata={"prefix": "exchange_"})
    image: ImageMix = field(default_factory=ImageMix, metadata={"prefix": "image_"})


@dataclass(frozen=True)
class Attacking:
    """Attacks in training; those in evaluation have the same radius, ball and step size by default.

    Args:
        eps: Radius of the attack that makes the view ``adv``, in units of 0 to 1, a number or a fraction: by default
            8/255 for ``linf`` and 0.5 for ``l2``. Attacks in evaluation have it by default too, as they have norm and
            step size.
        ball: ``linf`` bounds the change of each value, ``l2`` the length of the whole change.
        steps: Steps of projected gradient descent; 1 with ``--attack-step-size`` of the radius is the fast gradient
            method.
        step_size: Length of a step; by default a quarter of the radius.
        start: Start at a random point near each image.
        mode: ``eval`` attacks the model as it predicts, and moves no statistics. ``train`` attacks it in training
            mode as the authors of sandwich batch norm do: each step normalizes by the attacked batch and moves the
            attacked branch's running statistics once more.
        loss: ``cross-entropy`` of each branch, and their mean; or ``trades``: the mean over other branches, plus
            ``trades_beta`` times how far predictions of attacked images are from those of the images.
        trades_beta: Its weight.
    """

    eps: str | None = field(default=None, metadata={"flat": "eps"})
    ball: AttackBall = "linf"
    steps: int = 7
    step_size: str | None = None
    start: bool = True
    mode: AttackMode = "eval"
    loss: AdvLoss = field(default="cross-entropy", metadata={"flat": "adv_loss"})
    trades_beta: float = field(default=6.0, metadata={"flat": "trades_beta"})


@dataclass(frozen=True)
class Averaging:
    """Averaged weights.

    Args:
        decay: Validate and keep the exponential moving average of the weights with this decay, say 0.999. Its
            statistics are measured again for every validation and checkpoint, on ``ema_images`` training images under
            each branch's view.
        images: How many, in whole batches like a step's.
    """

    decay: float = field(metadata={"flat": "ema"})
    images: int = field(default=2048, metadata={"flat": "ema_images"})


@dataclass(frozen=True)
class Optimization:
    """Steps: how many, how large, how fast.

    Args:
        epochs: Passes over the data.
        batch: Rows of one step over all processes, the views of all branches counted: a multiple of the number of
            branches; by default 256, or the nearest below.
        accumulate: Divide each step into so many forwards, to need less memory. The gradient is that of the whole
            batch, but norms see the statistics of each forward.
        keep_last: Train on the last, short batch of an epoch too, if each forward of each process gets an image of
            it.
        rate: Highest learning rate (SGD with Nesterov momentum).
        warmup: Epochs in which the rate grows.
        momentum: Of SGD.
        weight_decay: Of all parameters, or of those ``decay_norms`` leaves.
        decay_norms: Whether norms and biases, all 1-d parameters, decay too.
        label_smoothing: Share of each target that is spread over all classes.
    """

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


@dataclass(frozen=True)
class Computing:
    """How it is computed.

    Args:
        precision: ``bf16`` computes in mixed precision; weights, statistics and the loss stay in float32. ``fp16``
            does too, with the loss scaled for the gradients, for GPUs that are slow at ``bf16``.
        memory_format: ``channels_last`` is faster on most GPUs.
        compile: Train through ``torch.compile``.
        shard: Divide weights, gradients and the optimizer's state among processes (FSDP2), where a whole model for each
            needs too much memory.
        num_workers: Processes that prepare views; the numbers do not depend on it.
    """

    precision: Precision = "no"
    memory_format: MemoryFormat = "contiguous"
    compile: bool = False
    shard: bool = False
    num_workers: int = 0


@dataclass(frozen=True)
class Writing:
    """What is written, and when.

    Args:
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
        tensorboard: Write the numbers of each epoch as TensorBoard events too, under ``tensorboard`` in the run.
        trackers: Write them to these too, as far as they are installed: ``wandb``, ``mlflow``, ``comet_ml``, ``aim``,
            ``clearml``, ``dvclive``, ``swanlab``, ``trackio``.
        table_images: Test images of the table bank x shift at the end; 0 leaves it out.
    """

    save_every: int = 0
    tensorboard: bool = False
    trackers: tuple[str, ...] = ()
    table_images: int = 1000


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
    mix: MixOptions | None = None
    attack: Attacking | None = field(default=None, metadata={"prefix": "attack_"})
    average: Averaging | None = None
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
