"""How sure and how varied a classifier finds generated images."""

import math

from torch import Tensor

NUM_SPLITS = 10


def inception_score(logits: Tensor, num_splits: int = NUM_SPLITS) -> float:
    r"""Inception Score of a classifier's logits on generated images, the mean over consecutive splits.

    .. math:: \exp \frac1n \sum_n \mathrm{KL}\left(p(y | x_n) \,\|\, p(y)\right), \qquad p(y) = \frac1n \sum_n p(y | x_n)

    From 1, where all images look alike or none is sure, to the number of classes. Fewer images per split score less.

    Shape: ``(N, classes)``, in float64 inside.

    Args:
        num_splits: Parts that are scored by themselves, of almost equal size.

    Raises:
        ValueError: If the logits are not finite, or fewer than two images fall to a split.

    Reference: Salimans et al., *Improved Techniques for Training GANs*, NeurIPS 2016, with the Inception network of 2015 and
    50,000 images; name any other network and n beside it.

    Example:
        >>> sure = 50 * torch.eye(4).repeat(5, 1)
        >>> round(inception_score(sure, num_splits=5), 6)
        4.0
    """
    if logits.ndim != 2 or num_splits < 1 or len(logits) < 2 * num_splits or not logits.isfinite().all():
        raise ValueError(
            f"logits of shape {tuple(logits.shape)} in {num_splits} splits were given. Finite (images, classes) are needed, of "
            "at least two images for each split. Generate more images, or use fewer splits."
        )
    log_p = logits.detach().double().log_softmax(1)
    return sum(_score(part) for part in log_p.tensor_split(num_splits)) / num_splits


def _score(log_p: Tensor) -> float:
    log_mean = log_p.logsumexp(0) - math.log(len(log_p))
    return (log_p.exp() * (log_p - log_mean)).sum(1).mean().exp().item()
