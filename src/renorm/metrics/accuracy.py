"""How many of a classifier's predictions are right, and how likely it takes the labels to be."""

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

TOP = 5


class Scores(NamedTuple):
    """What each image contributed, all that is kept of its logits. Shape: ``(N,)`` each.

    Args:
        hits: Whether the highest logit is the label's.
        near: Whether the label's is one of the five highest; None for models of at most five classes.
        nll: Negative log-likelihood of the label, in nats.
        confidence: Probability of the highest logit.
    """

    hits: Tensor
    near: Tensor | None
    nll: Tensor
    confidence: Tensor


def scores(logits: Tensor, labels: Tensor) -> Scores:
    """Score each image. Shape: ``(N, C), (N,) -> (N,)`` each."""
    hits = correct(logits, labels)
    logits = logits.double()
    near = None
    if logits.shape[1] > TOP:
        near = hits | (logits.topk(TOP, 1).indices == labels[:, None]).any(1)
    losses = F.cross_entropy(logits, labels, reduction="none")
    return Scores(hits, near, losses, logits.softmax(1).amax(1))


def unscored(batch: Scores, n: int) -> Scores:
    """Room for the scores of n images, as those of a batch are.

    Small tensors that are kept batch by batch lie between the large ones of forwards, whose memory is then never given back: some
    5 MB a batch.
    """
    near = None if batch.near is None else batch.near.new_zeros(n)
    return Scores(batch.hits.new_zeros(n), near, batch.nll.new_zeros(n), batch.confidence.new_zeros(n))


def fill_(room: Scores, start: int, batch: Scores) -> None:
    """Put the scores of a batch into their place."""
    for whole, part in zip(room, batch, strict=True):
        if whole is not None and part is not None:
            whole[start : start + len(part)] = part


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Tell for each image whether its highest logit is its label. Shape: ``(N, C), (N,) -> (N,)`` of bool."""
    _check(logits, labels)
    return logits.argmax(1) == labels


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of images whose highest logit is their label, in 0..1."""
    return correct(logits, labels).double().mean().item()


def nll(logits: Tensor, labels: Tensor) -> float:
    """Mean negative log-likelihood of the labels, in nats."""
    _check(logits, labels)
    return F.cross_entropy(logits.double(), labels).item()


def _check(logits: Tensor, labels: Tensor) -> None:
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or len(labels) == 0:
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} do not go with labels of shape {tuple(labels.shape)}: (N, classes) "
            "and (N,) with N > 0 are needed. Check that both come from the same batches."
        )
    if int(labels.max()) >= logits.shape[1]:
        raise ValueError(
            f"the label {int(labels.max())} does not go with {logits.shape[1]} outputs: labels below that are needed. "
            "Evaluate a model that was made for these classes."
        )
