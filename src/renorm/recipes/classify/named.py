"""A trained model by the name of its run, its file, or its architecture."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from renorm.banks import Bank, tracked
from renorm.data import CIFAR, Images, Preprocessing, config_of, load, splits_of, square, three
from renorm.evaluate import SOURCE
from renorm.models import (
    Classifier,
    check_trusted,
    create,
    is_code,
    is_safetensors,
    library_of,
    load_weights,
    other_than_weights,
    trust,
    usual_preprocessing,
)
from renorm.recipes.classify.config import MODEL, Config
from renorm.recipes.classify.saved import check_classifier
from renorm.recipes.classify.start import build, fetch
from renorm.recipes.flat import read_config
from renorm.recipes.started import on
from renorm.train import Run, checkpoint


@dataclass(frozen=True)
class NamedModel:
    """A model, in evaluation mode, with what is known of its training.

    Args:
        classifier: The model.
        about: What its checkpoint says.
        download: Whether to fetch ``cifar10`` or ``cifar100`` if it is not there, whatever the checkpoint says.
        says: What its library says that becomes of images before it sees them.
    """

    classifier: Classifier
    about: dict[str, Any] = field(default_factory=dict)
    download: bool = False
    says: Preprocessing | None = None

    @property
    def config(self) -> Config:
        """How it was trained; the defaults if that is not known."""
        config = read_config(Config, self.about)
        download = config.source.download or (self.download and config.source.data in CIFAR)
        return replace(config, source=replace(config.source, download=download))

    @property
    def training(self) -> str:
        """How it was trained, in words: norms, branches, what was mixed; nothing if that is not known."""
        if "config" not in self.about:
            return ""
        config = read_config(Config, self.about)
        epochs, branches = config.optimization.epochs, " ".join(config.branches)
        words = f"{config.network.norm} norms, branches {branches}, {epochs} epochs, seed {config.seed}"
        return f"{words}, mixed by {self.about['mix']}" if "mix" in self.about else words

    @property
    def preprocessing(self) -> Preprocessing:
        """What becomes of images before the model sees them; a run's are of the size that it was trained on."""
        if self.says is not None:
            return self.says
        mean, std = three(self.classifier.mean), three(self.classifier.std)
        return Preprocessing(square(self.classifier.size), mean, std, "its checkpoint" if self.about else "")

    def images(self, source: str, split: str = "test", **options: Any) -> Images:
        """Images as the model wants them, of a split, or all of data without any; options as of :func:`renorm.data.load`.

        Raises:
            ValueError: There are none, or the model fails on them.
        """
        download = source in CIFAR and (self.download or self.config.source.download)
        part = split if splits_of(source) else None
        images = load(source, part, model=self.preprocessing, download=download, **options)
        self.classifier.check_takes(images.batch(range(min(2, len(images))))[0])
        return images

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
        plain, config = {**self.about, "branches": []}, read_config(Config, self.about)
        if "config" in plain:
            plain["config"] = asdict(replace(config, network=replace(config.network, norm="shared", share=())))
        return plain


def open_run(path: Path, device: str | None = None) -> NamedModel:
    """The newest checkpoint of a run, on a device; by default on a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no run, or no checkpoint in it.
        ValueError: If the checkpoint is damaged, or of another recipe.
    """
    run = Run(path)
    check_classifier(run.config(), path)
    return open_file(checkpoint.weights_of(checkpoint.newest(run.checkpoint), MODEL), device)


def trust_code_of(path: Path) -> None:
    """Let the code that a run or a file says its network is made by be run when it is opened.

    Raises:
        OSError: If there is no such run or file.
        ValueError: If it is damaged.
    """
    about = Run(path).config() if path.is_dir() else checkpoint.read_weights(path)[1]
    check_classifier(about, path)
    trust(read_config(Config, about).network.model)


def open_file(path: Path, device: str | None = None) -> NamedModel:
    """A file of weights that renorm wrote, which says what model it belongs to; on a device, by default a GPU if there is one.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it does not say, is of another recipe, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}: the model.safetensors of a run is needed. Check the path.")
    weights, about = checkpoint.read_weights(path) if is_safetensors(path) else ({}, {})
    if kind := other_than_weights(about):
        raise ValueError(f"{path} is no model: it is {kind}. The model it belongs to is needed here. Name that one.")
    check_classifier(about, path)
    if "config" not in about:
        raise ValueError(
            f"{path} does not say what model it belongs to: a file that renorm wrote is needed here. Name the model and "
            f"give the file as its weights: resnet20 --weights {path}."
        )
    try:
        classifier = _described(path, weights, about)
    except (KeyError, TypeError, AttributeError, RuntimeError) as error:
        raise ValueError(
            f"{path} cannot be read ({type(error).__name__}: {str(error).partition(chr(10))[0]}): a whole file as renorm writes "
            "it is needed. Copy it again, or train again."
        ) from error
    return NamedModel(replace(classifier, model=_on(classifier.model, device)), about)


@contextmanager
def _told_of(path: Path) -> Iterator[None]:
    """What is refused is told with the file that says it."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _described(path: Path, weights: Mapping[str, Tensor], about: dict[str, Any]) -> Classifier:
    with _told_of(path):
        config = read_config(Config, about)
    check_trusted(config.network.model, path)
    with _told_of(path):  # a damaged name is no network's
        model = build(config, len(about["classes"]))
    checkpoint.load_into(model, weights)
    return Classifier(
        model, about["mean"], about["std"], tuple(about["branches"]), tuple(about["classes"]), about["size"]
    )


def open_named(
    name: str,
    weights: Path | None = None,
    num_classes: int | None = None,
    normalization: Sequence[Sequence[float]] = (),
    device: str | None = None,
    *,
    ema: bool = True,
    tracked: bool = False,
) -> NamedModel:
    """A plain model by name, with weights from a file or, for timm and torchvision, their own.

    Args:
        name: As :func:`renorm.models.create` takes it.
        weights: File to load; it must fit.
        num_classes: Outputs, if not the model's usual number.
        normalization: Mean and standard deviation of the input, if not the model's own; code of one's own needs it unless its
            network has a ``pretrained_cfg`` as timm's have.
        device: Where it computes; by default on a GPU if there is one.
        ema: Of averaged and other weights in a file, take the averaged ones.
        tracked: Whether its norms must have running statistics, which is looked at before anything is fetched.

    Raises:
        ValueError: For an unknown name, no weights, or those of another model.
        OSError: If trained weights cannot be fetched.
    """
    model = _plain(name, weights, num_classes, tracked)
    if weights is not None:
        load_weights(model, weights, ema=ema)
    if not normalization and not config_of(model) and is_code(name):
        raise ValueError(
            f"{name} does not say what its input is normalized by: a mean and a standard deviation are needed. Add --mean and "
            "--std, or give the network a pretrained_cfg with 'mean' and 'std'."
        )
    says = usual_preprocessing(name, model)
    if normalization:
        mean, std = normalization
        source = ", ".join(filter(None, (says.frame and says.source, "--mean and --std")))
        says = replace(says, mean=three(mean), std=three(std), source=source)
    size = says.frame and says.frame.size[1]
    return NamedModel(Classifier(_on(model, device), says.mean, says.std, size=size), says=says)


def _plain(name: str, weights: Path | None, num_classes: int | None, tracked: bool) -> nn.Module:
    library = library_of(name)[0]
    if library is not None and weights is None:
        return fetch(name, num_classes, tracked=tracked)
    model = create(name, num_classes=num_classes if library or is_code(name) else num_classes or 10)
    if weights is None and not is_code(name):
        raise ValueError(
            f"no weights for {name}: only timm: and torchvision: models come with trained ones. Add --weights FILE, "
            "or name the folder of a run."
        )
    return model


def _on(model: nn.Module, device: str | None) -> nn.Module:
    return model.to(on(device)).eval()
