"""Groups of options: the images, the network, how views are made, how it is trained, computed and written.

What fields say of themselves is told in :mod:`renorm.recipes.flat`. Nothing here needs torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Norm = Literal["split", "sandwich", "shared"]
Shared = Literal["statistics", "affine"]
SandwichInit = Literal["identity", "published"]
StrongPolicy = Literal["randaugment", "autoaugment", "trivialaugment", "augmix"]
CropName = Literal["auto", "padded", "resized"]
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

    data: str = field(default="digits", metadata={"files": "data"})
    test: str | None = field(default=None, metadata={"files": "data"})
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

    model: str = field(default="resnet20", metadata={"files": "code"})
    weights: str | None = field(default=None, metadata={"files": "data"})
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
    stylized: str | None = field(default=None, metadata={"files": "data"})


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
