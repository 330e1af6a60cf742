"""What a style network is worth on pairs of held-out contents and styles, also to a network that trained nothing of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.functional import adain
from renorm.models import Stylizer
from renorm.recipes.stylize.recipe import style_loss

TAP = -1  # of an encoder's taps the one whose features are exchanged


@dataclass(frozen=True)
class Judge:
    """A network that trained nothing of a style network.

    Args:
        name: Of the network, which its numbers bear.
        features: Of pictures ``(N, 3, H, W)`` in 0..1, by the names of its layers.
    """

    name: str
    features: Callable[[Tensor], Mapping[str, Tensor]]


@torch.no_grad()
def pair_numbers(
    net: Stylizer, pairs: Iterable[tuple[Tensor, Tensor]], judge: Judge | None = None
) -> tuple[dict[str, Tensor], list[Tensor]]:
    r"""Numbers of each pair, ``(N,)``, and the pictures.

    ``style``: the moments' distance from the style's, as in training. ``content``: from the **plain** target of AdaIN, the same
    for all networks of an encoder; ``own target``: from the one the decoder was given, which an affine moves; ``features``:
    from those of the content. With a judge ``style[NAME]`` and ``features[NAME]`` by its layers, relative to what the content
    itself, not stylized, would have against the style: 1 is a picture left as it was.

    Args:
        net: In evaluation mode.
        pairs: Contents and styles, ``(1, 3, H, W)`` in 0..1, sides multiples of 8.
        judge: Another network.
    """
    found: dict[str, list[float]] = defaultdict(list)
    pictures = []
    for content, style in pairs:
        y, numbers = _one(net, content, style)
        if judge is not None:
            numbers |= _judged(judge, y, content, style)
        for name, value in numbers.items():
            found[name].append(float(value))
        pictures.append(y)
    return {name: torch.tensor(values) for name, values in found.items()}, pictures


def _one(net: Stylizer, content: Tensor, style: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    features, wanted = net.encoder(content), net.encoder.features(style)
    moments = list(wanted.values())[TAP]
    plain = adain(features, moments, eps=net.eps)
    target = adain(features, moments, net.weight, net.bias, net.eps)
    y = net.decoder(target).clamp(0, 1)
    found = net.encoder.features(y)
    last = list(found.values())[TAP]
    pairs = {"content": plain, "own target": target, "features": features}
    return y, {"style": style_loss(found, wanted)} | {name: F.mse_loss(last, t) for name, t in pairs.items()}


def _judged(judge: Judge, y: Tensor, content: Tensor, style: Tensor) -> dict[str, Tensor]:
    found, source, wanted = (judge.features(x) for x in (y, content, style))
    last = list(found)[TAP]
    apart = F.mse_loss(F.adaptive_avg_pool2d(source[last], 1), F.adaptive_avg_pool2d(wanted[last], 1))
    moved = F.mse_loss(F.adaptive_avg_pool2d(found[last], 1), F.adaptive_avg_pool2d(source[last], 1))
    numbers = {"style": style_loss(found, wanted) / style_loss(source, wanted), "features": moved / apart}
    return {f"{name}[{judge.name}]": value for name, value in numbers.items()}
