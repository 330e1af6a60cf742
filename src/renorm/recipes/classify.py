"""Classification where branches are views of one image: split batch normalization and its baseline.

Each step stacks the views of the same images into one batch, and the loss is the mean over branches of the
cross-entropy. ``norm="shared"`` trains plain batch normalization on exactly the same batches.

Reference: Merchant, Zoph & Cubuk, *Does Data Augmentation Benefit from Split BatchNorms*, 2020.
"""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import renorm
from renorm import augment
from renorm.data import Images, load
from renorm.evaluate.subject import Choice, Subject, logits
from renorm.extras import require
from renorm.models import create
from renorm.recipes.loop import Plan, check_finite
from renorm.recipes.views import Order, ViewedImages, loader
from renorm.routing import check_names

HOLDOUT = 0.2  # share of a source without splits that is not trained on


@dataclass(frozen=True)
class Config:
    """What to train, on what and how.

    Args:
        data: ``digits``, a folder of images, or a Parquet file or folder in the Hugging Face layout.
        test: Images to validate on, likewise; by default the split ``test`` of ``data``.
        model: ``resnet20``, ``resnet56``, ``wrn-28-2``, ..., ``timm:NAME`` or ``torchvision:NAME``.
        branches: Views of each image, one branch each: ``weak``, ``strong``, ``clean``; any names if ``views`` are given.
        views: The view of each branch, in order, where it is not called like its branch: ``--branches weak again
            --views weak weak`` trains on two weak views. Each branch draws its own random numbers, by its name.
        norm: ``split`` gives each branch its own statistics and affine; ``shared`` is the plain model on the same batches.
        share: What branches have in common all the same: ``statistics``, ``affine``.
        strong: Policy of the strong view.
        num_ops: Operations per image of RandAugment, or per chain of AugMix; by default the published number.
        magnitude: Of RandAugment, 0 to 30, or severity of AugMix, 1 to 10; by default the published one.
        crop: ``padded`` moves images by a few pixels, ``resized`` takes random parts of any size, as usual on ImageNet;
            ``auto`` takes the latter above 96 pixels.
        cutout: Side of the square cut out of the strong view, as a share of the image's; by default 0.5, but 0 with
            resized crops.
        download: Fetch ``cifar10`` or ``cifar100`` if it is not there.
        epochs: Passes over the data.
        batch: Rows of one step, the views of all branches counted: a multiple of the number of branches.
        rate: Highest learning rate (SGD with Nesterov momentum).
        warmup: Epochs in which the rate grows.
        momentum: Of SGD.
        weight_decay: Of all parameters.
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
        precision: ``bf16`` computes in mixed precision.
        num_workers: Processes that prepare views; the numbers do not depend on it.
        seed: Of the weights, the order and the views.
    """

    data: str = "digits"
    test: str | None = None
    model: str = "resnet20"
    branches: tuple[str, ...] = ("weak", "strong")
    views: tuple[str, ...] = ()
    norm: Literal["split", "shared"] = "split"
    share: tuple[Literal["statistics", "affine"], ...] = ()
    strong: augment.Policy = "randaugment"
    num_ops: int | None = None
    magnitude: int | None = None
    crop: augment.Crop = "auto"
    cutout: float | None = None
    download: bool = False
    epochs: int = 30
    batch: int = 256
    rate: float = 0.1
    warmup: float = 1.0
    momentum: float = 0.9
    weight_decay: float = 5e-4
    save_every: int = 0
    precision: Literal["no", "bf16"] = "no"
    num_workers: int = 0
    seed: int = 0

    @property
    def examples(self) -> int:
        """Images of one step; each is seen once per branch."""
        return self.batch // len(self.branches)

    def views_by_branch(self, size: int) -> dict[str, augment.View]:
        """The view of each branch for images of a size."""
        return {branch: self.view(name, size) for branch, name in zip(self.branches, self.view_names, strict=True)}

    @property
    def view_names(self) -> tuple[str, ...]:
        """The name of each branch's view."""
        return self.views or self.branches

    def view(self, name: str, size: int) -> augment.View:
        """One view, with this configuration's settings."""
        digits = self.data == "digits"
        return augment.view(
            name,
            size,
            digits=digits,
            policy=self.strong,
            num_ops=self.num_ops,
            magnitude=self.magnitude,
            crop=self.crop,
            cutout=self.cutout,
        )

    def plan(self, num_images: int) -> Plan:
        """Length and rate of the training."""
        return Plan(self.epochs, num_images // self.examples, self.rate, self.warmup, self.save_every)


class Classification:
    """The recipe that :func:`renorm.recipes.loop.train` trains.

    Args:
        config: What to train.
        images: To train on; by default they and ``test`` are what the configuration names.
        test: To validate on.
    """

    def __init__(self, config: Config, images: Images | None = None, test: Images | None = None) -> None:
        self.config = config
        self.images, self.test = (images, test) if images and test else read(config)
        check(config, self.images)
        self.accelerator = one_process(config.precision)
        torch.manual_seed(config.seed)
        self.model = build(config, len(self.images.classes)).to(self.accelerator.device)
        self.optimizer: torch.optim.Optimizer = torch.optim.SGD(
            self.model.parameters(),
            config.rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
        self.subject = Subject(self.model, self.images.mean, self.images.std)
        self.data = ViewedImages(self.images, config.views_by_branch(self.images[0][0].shape[-1]), config.seed)

    def batches(self, epoch: int, first: int) -> Iterable[tuple[Tensor, Tensor]]:
        """The batches of an epoch from the one numbered ``first`` on."""
        order = Order(len(self.images), self.config.examples, self.config.seed, epoch, first)
        return loader(self.data, order, self.config.num_workers)

    def step(self, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        """Train on the views of some images: one forward over all branches."""
        views, labels = (part.to(self.accelerator.device, non_blocking=True) for part in batch)
        by_branch = {name: self.subject.normalize(views[:, i]) for i, name in enumerate(self.config.branches)}
        x, spec = renorm.stack(by_branch)
        with routed(self.model, self.config.norm, spec):
            with self.accelerator.autocast():
                outputs = renorm.unstack(self.model(x).float(), spec)
            losses = {name: F.cross_entropy(output, labels) for name, output in outputs.items()}
            loss = torch.stack(list(losses.values())).mean()
            check_finite(loss, self.optimizer.param_groups[0]["lr"])
            self.optimizer.zero_grad()
            self.accelerator.backward(loss)
        self.optimizer.step()
        numbers = {"loss": loss.item()} | {f"loss/{name}": value.item() for name, value in losses.items()}
        hits = {f"accuracy/{name}": (y.argmax(1) == labels).double().mean().item() for name, y in outputs.items()}
        return numbers | hits

    def validate(self) -> dict[str, float]:
        """Accuracy on the clean test images, of each branch's bank."""
        choices = {name: Choice(name) for name in self.config.branches} if self.split else {"source": Choice()}
        found = logits(self.subject, self.test, choices)
        return {f"test/{name}": (y.argmax(1) == self.test.labels).double().mean().item() for name, y in found.items()}

    def describe(self) -> dict[str, Any]:
        """Branches, classes and input normalization, for the checkpoint."""
        return {
            "branches": list(self.config.branches) if self.split else [],
            "classes": self.images.classes,
            "mean": list(self.images.mean),
            "std": list(self.images.std),
            "size": self.images[0][0].shape[-1],
            "config": asdict(self.config),
        }

    @property
    def split(self) -> bool:
        """Whether the model has branches of its own."""
        return self.config.norm == "split"


def read(config: Config) -> tuple[Images, Images]:
    """Images to train on and to test on; a source without splits of its own is divided."""
    train = load(config.data, split="train")
    if config.test is not None:
        return train, load(config.test, split="test")
    test = load(config.data, split="test")
    if test.name == train.name and torch.equal(test.labels, train.labels):
        return load(config.data, split="train", holdout=HOLDOUT), load(config.data, split="test", holdout=HOLDOUT)
    return train, test


def build(config: Config, num_classes: int) -> nn.Module:
    """The untrained model of a configuration."""
    model = create(config.model, num_classes=num_classes)
    if config.norm == "split":
        renorm.split_(model, list(config.branches), share=config.share)
    return model


def routed(model: nn.Module, norm: str, spec: Any) -> AbstractContextManager[None]:
    """The route of a stacked batch; a model with shared norms needs none."""
    return renorm.route(model, spec) if norm == "split" else nullcontext()


def check(config: Config, images: Images) -> None:
    """Refuse what cannot be trained, before anything is written.

    Raises:
        ValueError: For an unknown or repeated branch, a batch that does not divide, too few images, or no labels.
    """
    branches = check_names(config.branches)
    if len(config.view_names) != len(branches):
        raise ValueError(
            f"{len(config.views)} views ({', '.join(config.views)}) for the {len(branches)} branches {', '.join(branches)}: "
            "each branch needs one. Name as many --views, or leave them out where branches are called like their views."
        )
    for name in config.view_names:
        augment.view(name, 32)
    if config.batch % len(branches) or config.batch < 1:
        lower = max(1, config.batch // len(branches)) * len(branches)
        raise ValueError(
            f"a batch of {config.batch} does not divide among the {len(branches)} branches {', '.join(branches)}: "
            f"each needs as many rows. Use --batch {lower} or another multiple of {len(branches)}."
        )
    if len(images) < config.examples:
        raise ValueError(
            f"{len(images)} training images in {images.name}: one step needs {config.examples}. Lower --batch to "
            f"{len(images) * len(branches)} or less."
        )
    if not images.classes or int(images.labels.min()) < 0:
        raise ValueError(
            f"{images.name} has no labels: training needs a class for every image. Put images into one folder per class, "
            "or use Parquet with a label column."
        )


def one_process(precision: str) -> Any:
    """The accelerator of this process.

    Raises:
        ValueError: Under several processes.
    """
    accelerator = require("accelerate").Accelerator(mixed_precision=precision)
    if accelerator.num_processes > 1:
        raise ValueError(
            f"started as {accelerator.num_processes} processes: `renorm train` runs in one, as running statistics of "
            "several are not pooled yet. Start it without torchrun or accelerate launch."
        )
    return accelerator
