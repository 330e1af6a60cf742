"""What a change of a model's statistics does to its predictions."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from renorm.metrics import Interval, bootstrap, correct, paired_difference


@dataclass(frozen=True)
class PredictionChange:
    """What changed on the same images, as means over them with bootstrap 95 % intervals.

    Args:
        images: how many.
        changed: the share of predictions that are other ones now.
        confidence: the mean probability of the predicted class, before and after.
        accuracy: before and after; None without labels.
        gain: accuracy after minus before, paired by image; None without labels.
    """

    images: int
    changed: Interval
    confidence: tuple[Interval, Interval]
    accuracy: tuple[Interval, Interval] | None = None
    gain: Interval | None = None


def prediction_change(before: Tensor, after: Tensor, labels: Tensor | None = None, seed: int = 0) -> PredictionChange:
    """Compare two outputs of a classifier for the same images.

    Shape: ``(N, C)`` each, labels ``(N,)``.

    Args:
        before: logits.
        after: logits.
        labels: the classes, where they are known.
        seed: of the intervals' resamples.

    Raises:
        ValueError: no image, or outputs that are not of the same images and classes.

    Example:
        >>> import torch
        >>> one, other = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> found = prediction_change(one, other, torch.tensor([0, 0]))
        >>> found.changed.value, found.gain.value
        (0.5, 0.5)
    """
    if before.ndim != 2 or before.shape != after.shape or not len(before):
        raise ValueError(
            f"outputs of shape {tuple(before.shape)} and {tuple(after.shape)} cannot be compared: (images, classes) of the same "
            "one or more images are needed. Evaluate both on one list of images."
        )
    changed = bootstrap((before.argmax(1) != after.argmax(1)).double(), seed)
    sure = bootstrap(_confidence(before), seed), bootstrap(_confidence(after), seed)
    if labels is None:
        return PredictionChange(len(before), changed, sure)
    old, new = (correct(logits, labels).double() for logits in (before, after))
    accuracy = bootstrap(old, seed), bootstrap(new, seed)
    return PredictionChange(len(before), changed, sure, accuracy, paired_difference(new, old, seed))


def _confidence(logits: Tensor) -> Tensor:
    return logits.double().softmax(1).amax(1)
