"""Banks by name: branches, re-estimated ones, mixtures, files, and those adapted to a shift."""

import difflib
import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from renorm.adapt import Auto, adapt_
from renorm.banks import Bank, Choice, Statistics, measure, using
from renorm.data import VIEWS, Images, View, sample, seeded_batch, view
from renorm.models import Classifier
from renorm.progress import told
from renorm.routing import route_of
from renorm.shifts import Shift, seeds_of

NOBODY = "unknown"  # the branch of samples that belong to none
SOURCE = "source"  # the only bank of a model without branches
FORMS = "VIEW@NAME such as clean@NAME, a mixture NAME:0.7+NAME:0.3, or the path of a bank file"
MEASURE_BATCH = 128


@dataclass(frozen=True)
class TrainingImages:
    """What ``VIEW@`` banks are measured on: training images, un-augmented (``clean@``) or under another view.

    Args:
        images: To draw from.
        num_images: How many, at most.
        seed: Of the draw and of the views.
        make_view: Gives the view of a name; by default with the usual settings for the images' size.
    """

    images: Images | None
    num_images: int = 2048
    seed: int = 0
    make_view: Callable[[str], View] | None = None

    def batches(self, classifier: Classifier, name: str = "clean") -> "Batches":
        """The model's inputs, as a view shows them; clean ones are those that are evaluated.

        Raises:
            ValueError: If there are no training images.
        """
        drawn = self.drawn(name)
        if name == "clean":
            return Batches(classifier, drawn)
        make_view = self.make_view or partial(view, size=drawn[0][0].shape[-1])
        keys = [(self.seed, "measure", i, name) for i in range(len(drawn))]
        return Batches(classifier, drawn.whole(), make_view(name), keys)

    def drawn(self, name: str) -> Images:
        """The images that a view's bank is measured on."""
        if self.images is None:
            raise ValueError(
                f"a {name}@ bank is measured on training images, and none are given. Name them with --train."
            )
        return sample(self.images, min(self.num_images, len(self.images)), self.seed)

    def made(self, name: str) -> str:
        """How a view's bank is made, in words."""
        drawn = self.drawn(name)
        return (
            f"statistics of {len(drawn)} {name} images of {drawn.name} ({drawn.fingerprint[:8]}, seed {self.seed}, "
            f"batches of {MEASURE_BATCH})"
        )


@dataclass(frozen=True)
class Batches:
    """A model's inputs, made anew each time they are gone through: one batch is in memory.

    Args:
        classifier: Whose.
        images: In order.
        view: What is shown of each, if not what is evaluated.
        keys: Of each image's random numbers.
    """

    classifier: Classifier
    images: Images
    view: View | None = None
    keys: Sequence[tuple[int | str, ...]] = ()

    def __iter__(self) -> Iterator[Tensor]:
        return (self._batch(part) for part in told(self._parts, f"measuring {self.images.name}", self.num_images))

    @property
    def num_images(self) -> int:
        """How many are measured: a single one that is left has no variance."""
        return sum(map(len, self._parts))

    @property
    def _parts(self) -> list[Tensor]:
        return [part for part in torch.arange(len(self.images)).split(MEASURE_BATCH) if len(part) > 1]

    def _batch(self, part: Tensor) -> Tensor:
        if self.view is None:
            return self.classifier.normalize(self.images.batch(part)[0])
        shown = (self.images.pixels[i] for i in part.tolist())
        return self.classifier.normalize(seeded_batch(self.view, shown, [self.keys[i] for i in part.tolist()]))


def choose(
    classifier: Classifier, names: Sequence[str], branches: Sequence[str], training: TrainingImages
) -> dict[str, Choice]:
    """Make the banks of the given names.

    Args:
        classifier: The model.
        names: Each a branch (``source`` for a model without; ``unknown`` for a sandwich's shared affine alone), a view and a
            branch such as ``clean@weak`` (the branch's affine with statistics measured under that view), a mixture such as
            ``weak:0.7+strong:0.3`` (of means, variances and affines), or the path of a bank file.
        branches: Those of the model.
        training: What ``VIEW@`` banks are measured on.

    Raises:
        ValueError: For an unknown name, or weights that do not sum to 1.
        FileNotFoundError: If a bank file does not exist.
    """
    known = [*branches, *unknown(classifier.model)] or [SOURCE]
    return {name: _choice(classifier, name, known, training) for name in names}


def usual(branches: Sequence[str]) -> list[str]:
    """Names of the banks a table shows if nobody says which.

    Every branch, each measured clean, and the even mixture of two; of a model without branches just its ``source``.
    """
    mixture = [f"{branches[0]}:0.5+{branches[1]}:0.5"] if len(branches) == 2 else []
    return [*branches, *(f"clean@{name}" for name in branches), *mixture] or [SOURCE]


def unknown(model: nn.Module) -> tuple[str, ...]:
    """The name of the bank of samples of no branch, for a model that has one: a sandwich's shared affine alone."""
    route = route_of(model)
    return (NOBODY,) if route is not None and route.unknown else ()


@dataclass(frozen=True)
class Adapted:
    """Makes banks adapted to a shift from a few of its images, without labels: ``adapted``, or ``adapted@weak``, ....

    Args:
        classifier: The model.
        images: To draw from, the same ones for every shift of a seed; a shift with images of its own draws from these.
        branches: Those of the model to adapt, each by itself; ``unknown`` may be among them.
        num_images: How many.
        prior: How many images the source bank counts for; ``"auto"`` reads it off each shift's images.
    """

    classifier: Classifier
    images: Images | None
    branches: Sequence[str]
    num_images: int = 32
    prior: float | Auto = "auto"

    @property
    def made(self) -> dict[str, str]:
        """Names of the banks, and how they are made."""
        prior = self.prior if isinstance(self.prior, str) else f"{self.prior:g}"
        made = f"adapted to {self.num_images} images of each shift, prior {prior}"
        return dict.fromkeys(self._owners, made)

    def __call__(self, shift: Shift) -> dict[str, Choice]:
        """The banks for a shift.

        Raises:
            ValueError: If it has too few images.
        """
        images = self.images if shift.images is None else shift.images
        if images is None or len(images) < self.num_images:
            raise ValueError(
                f"cannot adapt to {self.num_images} images under {shift.label}, which has "
                f"{0 if images is None else len(images)}: at least as many are needed. Adapt to fewer."
            )
        generator = torch.Generator().manual_seed(shift.seed)
        indices = torch.randperm(len(images), generator=generator)[: self.num_images]
        banks = {
            name: _adapted_bank(self.classifier, self._seen(shift, images, indices, branch), self.prior, branch)
            for name, branch in self._owners.items()
        }
        return {name: Choice(self._owners[name], bank, self.made[name]) for name, bank in banks.items()}

    def _seen(self, shift: Shift, images: Images, indices: Tensor, branch: str | None) -> Tensor:
        """The model's inputs: images under the shift, attacked through the branch's own bank where it is an attack."""
        pixels, labels = images.batch(indices)
        if shift.adversary is None:
            return self.classifier.normalize(shift(pixels, indices))
        seeds = seeds_of(shift.seed, indices)
        return self.classifier.normalize(shift.adversary(self.classifier, Choice(branch), pixels, labels, seeds))

    @property
    def _owners(self) -> dict[str, str | None]:
        return {f"adapted@{name}": name for name in self.branches} or {"adapted": None}


def _adapted_bank(classifier: Classifier, x: Tensor, prior: float | Auto, branch: str | None) -> Bank:
    adaptation = adapt_(classifier.model, x, prior=prior, branch=branch, foreign="adapt")
    try:
        return Bank.of(classifier.model, branch=branch)
    finally:
        adaptation.undo()


def _choice(classifier: Classifier, name: str, known: Sequence[str], training: TrainingImages) -> Choice:
    if name in known:
        return Choice(_branch(name), made="of the model")
    if name.endswith(".safetensors"):
        return _from_file(classifier, name, known)
    if "+" in name:
        return _mixture(classifier, name, known)
    view, _, owner = name.partition("@")
    if view not in VIEWS or owner not in known:
        raise _unknown(name, known)
    branch = _branch(owner)
    bank = measure(classifier.model, training.batches(classifier, view), branch=branch)
    return Choice(branch, bank, training.made(view))


def _branch(name: str) -> str | None:
    return None if name == SOURCE else name


def _from_file(classifier: Classifier, path: str, known: Sequence[str]) -> Choice:
    bank = Bank.load(path)
    branch = bank.branch if isinstance(bank.branch, str) and bank.branch in known else _branch(known[0])
    with using(classifier.model, bank, branch=branch):  # refuses another model's bank, once
        pass
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()[:8]
    return Choice(branch, replace(bank, weights=None), f"file {digest}: {bank!r}")


def _mixture(classifier: Classifier, text: str, known: Sequence[str]) -> Choice:
    weights = _weights(text)
    for name in weights:
        if name not in known:
            raise _unknown(name, known)
    banks = [Bank.of(classifier.model, branch=_branch(name), affine=True) for name in weights]
    sites = {site: _mixed([bank.sites[site] for bank in banks], list(weights.values())) for site in banks[0].sites}
    return Choice(_branch(next(iter(weights))), Bank(sites), "mixture of the model's banks")


def _weights(text: str) -> Mapping[str, float]:
    try:
        weights = {name: float(weight) for name, _, weight in (part.partition(":") for part in text.split("+"))}
    except ValueError as error:
        raise ValueError(
            f"cannot read the mixture {text!r}: names and weights as in weak:0.7+strong:0.3 are needed."
        ) from error
    if not math.isclose(sum(weights.values()), 1, abs_tol=1e-6) or min(weights.values()) < 0:
        raise ValueError(
            f"the weights of {text!r} sum to {sum(weights.values()):g}: not negative and 1 in sum is needed. "
            "Change them, as in weak:0.7+strong:0.3."
        )
    return weights


def _mixed(parts: Sequence[Statistics], weights: Sequence[float]) -> Statistics:
    def total(tensors: Sequence[Tensor | None]) -> Tensor | None:
        if any(tensor is None for tensor in tensors):
            return None
        return torch.stack([t * w for t, w in zip(tensors, weights, strict=True) if t is not None]).sum(0)

    mean, var = total([p.mean for p in parts]), total([p.var for p in parts])
    assert mean is not None
    assert var is not None
    return Statistics(mean, var, None, total([p.weight for p in parts]), total([p.bias for p in parts]))


def _unknown(name: str, known: Sequence[str]) -> ValueError:
    close = difflib.get_close_matches(
        name, [*known, *(f"{view}@{each}" for view in VIEWS for each in known)], n=2, cutoff=0.4
    )
    meant = f"Did you mean {' or '.join(close)}?" if close else "Choose one of them."
    return ValueError(f"unknown bank {name!r}: one of {', '.join(known)}, {FORMS} is needed. {meant}")
