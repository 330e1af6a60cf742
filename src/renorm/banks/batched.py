"""Whether what is given is one batch: images with a batch around them, and no loader of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from renorm.banks.sites import SiteTensors

RANKS = {nn.BatchNorm2d: 4, nn.BatchNorm3d: 5}


def check_one_batch(images: Any, verb: str) -> None:
    """Refuse what gives batches, or holds images in another form, where one batch is needed.

    Args:
        images: What was given.
        verb: What takes the batches of a loader.

    Raises:
        TypeError: It is no batch.
    """
    kind = type(images).__name__
    if isinstance(images, (Tensor, Mapping, Sequence)) and not isinstance(images, (str, bytes)):
        return
    if hasattr(images, "__array_interface__"):
        raise TypeError(
            f"an array of type {kind} was given. One batch of tensors is needed. Pass torch.from_numpy(images)."
        )
    if isinstance(images, Iterable) and not isinstance(images, (str, bytes)):
        raise TypeError(
            f"a {kind} was given, which gives batches one after the other. One batch is needed here. Pass "
            f"next(iter(loader)), or all of them to {verb}."
        )
    if hasattr(images, "__getitem__") and hasattr(images, "__len__") and not isinstance(images, (str, bytes)):
        raise TypeError(
            f"a {kind} was given, which gives images one by one. One batch is needed here. Pass "
            f"next(iter(torch.utils.data.DataLoader(data, batch_size=32)))."
        )


def batched(observer: Callable[[str, SiteTensors, Tensor], None]) -> Callable[[str, SiteTensors, Tensor], None]:
    """An observer of sites that refuses one image without a batch around it, whose channels come first."""

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        channels = site.mean.numel()
        rank = next((rank for kind, rank in RANKS.items() if isinstance(site.module, kind)), None)
        if x.ndim > 1 and (x.shape[1] != channels == x.shape[0] or (rank is not None and x.ndim == rank - 1)):
            raise ValueError(
                f"site {name!r} got an input of shape {tuple(x.shape)}, an image without a batch around it. A batch is needed, "
                f"of which channels are the second axis. Pass images[None], or torch.stack of several."
            )
        observer(name, site, x)

    return observe
