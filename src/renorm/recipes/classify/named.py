"""A trained model by the name of its run, its file, or its architecture."""

import difflib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from renorm.banks import Bank, tracked
from renorm.data import CIFAR, Images, load
from renorm.evaluate import SOURCE
from renorm.models import Classifier, create, load_weights
from renorm.recipes.classify.config import MODEL, Config
from renorm.recipes.classify.saved import config_of
from renorm.recipes.classify.start import LIBRARIES, build, fetch, usual_normalization
from renorm.train import Run, checkpoint


@dataclass(frozen=True)
class NamedModel:
    """A model, in evaluation mode, with what is known of its training.

    Args:
        classifier: The model.
        about: What its checkpoint says.
        download: Whether to fetch ``cifar10`` or ``cifar100`` if it is not there, whatever the checkpoint says.
    """

    classifier: Classifier
    about: dict[str, Any] = field(default_factory=dict)
    download: bool = False

    @property
    def config(self) -> Config:
        """How it was trained; the defaults if that is not known."""
        config = config_of(self.about)
        download = config.source.download or (self.download and config.source.data in CIFAR)
        return replace(config, source=replace(config.source, download=download))

    @property
    def training(self) -> str:
        """How it was trained, in words: norms, branches, what was mixed; nothing if that is not known."""
        if "config" not in self.about:
            return ""
        config = config_of(self.about)
        epochs, branches = config.optimization.epochs, " ".join(config.branches)
        words = f"{config.network.norm} norms, branches {branches}, {epochs} epochs, seed {config.seed}"
        return f"{words}, mixed by {self.about['mix']}" if "mix" in self.about else words

    def images(self, source: str, split: str = "test") -> Images:
        """Images of the size the model was trained on."""
        download = source in CIFAR and (self.download or self.config.source.download)
        return load(source, split=split, size=self.classifier.size, download=download)

    def branch(self, name: str | None) -> str | None:
        """The branch meant by a name, or by none if there is no choice.

        Raises:
            ValueError: If there is no such branch, or several to choose from.
        """
        if name is None and len(self.classifier.branches) > 1:
            raise ValueError(
                f"no branch given, and the model has {', '.join(self.classifier.branches)}: one of them is needed. Add --branch "
                f"{self.classifier.branches[0]}."
            )
        if name is not None and name not in self.classifier.branches:
            close = difflib.get_close_matches(name, self.classifier.branches, n=1)
            has = f"has {', '.join(self.classifier.branches)}" if self.classifier.branches else "is plain and has none"
            remedy = f"Did you mean {close[0]!r}?" if close else "Leave --branch out or name one of them."
            raise ValueError(f"no branch {name!r}: the model {has}. {remedy}")
        return name or (self.classifier.branches[0] if self.classifier.branches else None)

    def banks(self) -> dict[str, Bank]:
        """Each branch's bank, statistics and affine, or the only one of a plain model; none where norms have no statistics."""
        model = self.classifier.model
        branches = [each for each in self.classifier.branches or [None] if tracked(model, each)]
        return {branch or SOURCE: Bank.of(model, branch=branch, affine=True) for branch in branches}

    def of_size(self, size: int) -> "NamedModel":
        """The model for images of another side."""
        return replace(self, classifier=replace(self.classifier, size=size))

    def about_folded(self) -> dict[str, Any]:
        """What the file of a folded model says, so that it opens again."""
        plain, config = {**self.about, "branches": []}, config_of(self.about)
        if "config" in plain:
            plain["config"] = asdict(replace(config, network=replace(config.network, norm="shared", share=())))
        return plain


def open_run(path: Path, device: str | None = None) -> NamedModel:
    """The newest checkpoint of a run, on a device; by default on a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If the checkpoint is damaged.
    """
    run = Run(path)
    run.config()
    return open_file(checkpoint.weights_of(checkpoint.newest(run.checkpoint), MODEL), device)


def open_file(path: Path, device: str | None = None) -> NamedModel:
    """A file of weights that renorm wrote, which says what model it belongs to; on a device, by default a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not say, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: the model.safetensors of a run is needed. Check the path.")
    weights, about = checkpoint.read_weights(path)
    if "config" not in about:
        raise ValueError(
            f"{path} does not say what model it belongs to: a file that renorm wrote is needed here. Name the model and "
            f"give the file as its weights: resnet20 --weights {path}."
        )
    model = build(config_of(about), len(about["classes"]))
    checkpoint.load_into(model, weights)
    branches, classes = tuple(about["branches"]), tuple(about["classes"])
    model = _on(model, device)
    return NamedModel(Classifier(model, about["mean"], about["std"], branches, classes, about["size"]), about)


def open_named(
    name: str,
    weights: Path | None = None,
    num_classes: int | None = None,
    normalization: Sequence[Sequence[float]] = (),
    device: str | None = None,
) -> NamedModel:
    """A plain model by name, with weights from a file or, for timm and torchvision, their own.

    Args:
        name: As :func:`renorm.models.create` takes it.
        weights: File to load; it must fit.
        num_classes: Outputs, if not the model's usual number.
        normalization: Mean and standard deviation of the input, if not the model's own.
        device: Where it computes; by default on a GPU if there is one.

    Raises:
        ValueError: For an unknown name, no weights, or those of another model.
        OSError: If trained weights cannot be fetched.
    """
    model = _plain(name, weights, num_classes)
    if weights is not None:
        load_weights(model, weights)
    mean, std = normalization or usual_normalization(model)
    given = getattr(model, "pretrained_cfg", None) or {}
    size = given.get("input_size", (3, None, None))[-1]
    return NamedModel(Classifier(_on(model, device), mean, std, size=size))


def _plain(name: str, weights: Path | None, num_classes: int | None) -> nn.Module:
    named = name.startswith(LIBRARIES)
    if weights is not None or not named:
        model = create(name, num_classes=num_classes if named else num_classes or 10)
        if weights is None:
            raise ValueError(
                f"no weights for {name}: only timm: and torchvision: models come with trained ones. Add --weights FILE, "
                "or name the folder of a run."
            )
        return model
    return fetch(name, num_classes)


def _on(model: nn.Module, device: str | None) -> nn.Module:
    return model.to(device or ("cuda" if torch.cuda.is_available() else "cpu")).eval()
