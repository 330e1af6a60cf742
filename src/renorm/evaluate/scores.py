"""The outputs and scores of a model, with each of several banks."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from renorm import metrics
from renorm.banks import Choice, evaluating
from renorm.data import Images
from renorm.metrics import Scores
from renorm.models import Classifier
from renorm.progress import told

BATCH = 256  # images of one forward, at most
PIXELS = 2**20  # of one forward: larger activations cost more in fresh memory than they gain


PixelChange = Callable[[Tensor, Tensor], Tensor]
Against = Callable[[Choice, Tensor, Tensor, Tensor], Tensor]
"""Changes pixels against one choice, given also their labels and indices."""


@torch.no_grad()
def outputs(
    classifier: Classifier,
    images: Images,
    choices: Mapping[str, Choice],
    change: PixelChange | None = None,
    against: Against | None = None,
    numbers: bool = True,
) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
    """Labels and logits, on the CPU, of one batch after another with each choice, in evaluation mode.

    Args:
        classifier: The model; its modes are given back.
        images: What it sees, in order.
        choices: What to evaluate with, by name.
        change: Made to pixels before, given their indices; once for all choices.
        against: Made to pixels after that, for each choice apart.
        numbers: Whether logits that are none are refused; attacked ones always are.
    """
    size = max(16, min(BATCH, PIXELS // images[0][0][0].numel()))
    for indices in told(torch.arange(len(images)).split(size), f"evaluating {images.name}", len(images)):
        pixels, labels = images.batch(indices)
        pixels = pixels if change is None else change(pixels, indices)
        with evaluating(classifier.model):
            if against is None:
                x = classifier.normalize(pixels)
                found = {name: _output(classifier, choice, x, numbers) for name, choice in choices.items()}
            else:
                found = {
                    name: _output(classifier, choice, classifier.normalize(against(choice, pixels, labels, indices)))
                    for name, choice in choices.items()
                }
        yield labels, found


def _output(classifier: Classifier, choice: Choice, x: Tensor, numbers: bool = True) -> Tensor:
    with choice.used(classifier.model):
        return classifier.answer(x, numbers).cpu()


def validated(classifier: Classifier, images: Images, choices: Mapping[str, Choice]) -> dict[str, int]:
    """How many images each choice has right in the midst of a training, where logits that are no numbers are wrong."""
    right = dict.fromkeys(choices, 0)
    for labels, found in outputs(classifier, images, choices, numbers=False):
        for name, y in found.items():
            right[name] += int(((y.argmax(1) == labels) & (y < torch.inf).all(1)).sum())
    return right


def logits(
    classifier: Classifier, images: Images, choices: Mapping[str, Choice], change: PixelChange | None = None
) -> dict[str, Tensor]:
    """All logits of each choice, as :func:`outputs` gives them."""
    room: dict[str, Tensor] = {}  # made once, as scores are
    done = 0
    for labels, found in outputs(classifier, images, choices, change):
        for name, y in found.items():
            if name not in room:
                room[name] = y.new_empty(len(images), y.shape[1])
            room[name][done : done + len(y)] = y
        done += len(labels)
    return room


def score(
    classifier: Classifier,
    images: Images,
    choices: Mapping[str, Choice],
    change: PixelChange | None = None,
    against: Against | None = None,
    columns: Tensor | None = None,
    step: Callable[[float], None] = lambda share: None,
) -> dict[str, Scores]:
    """The scores of each image with each choice; of the logits nothing is kept.

    Args:
        classifier: The model.
        images: What it sees, in order.
        choices: What to evaluate with, by name.
        change: Made to pixels before, given their indices.
        against: Made to pixels after that, for each choice apart.
        columns: Of the model's outputs those that labels count; None for all.
        step: Told after each batch the share of images that is done.

    Raises:
        ValueError: If the data have another number of classes than the model.
    """
    room: dict[str, Scores] = {}
    done = 0
    for labels, found in outputs(classifier, images, choices, change, against):
        for name, y in found.items():
            chosen = y if columns is None else y[:, columns]
            check_classes(images, chosen.shape[1])
            batch = metrics.scores(chosen, labels)
            if name not in room:
                room[name] = metrics.unscored(batch, len(images))
            metrics.fill_(room[name], done, batch)
        done += len(labels)
        step(done / len(images))
    return room


def check_classes(images: Images, num_outputs: int) -> None:
    """Refuse classes that are not the model's: their numbers would mean something else.

    Raises:
        ValueError: If there are more classes than outputs, or fewer that have names of their own.
    """
    named = [name for name in images.classes if not name.isdigit()]
    if len(images.classes) > num_outputs or (named and len(images.classes) < num_outputs):
        raise ValueError(
            f"{images.name} has {len(images.classes)} classes and the model {num_outputs} outputs: both must be the same. "
            "Evaluate a model that was made for these classes, or give images of all its classes."
        )
