"""Whether images were prepared as the model expects: their range, their normalization, the order of their colours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Literal, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves, tree_map_only

from renorm.adapt.evidence import compared, evidence, image_means
from renorm.banks import Branch, Forward, SiteTensors, call, num_samples, observed
from renorm.functional import Moments, all_merge, instance_moments, pool

FAR = 6.0  # standard deviations at the first site that no corruption comes near, and other units exceed
NEARER = 2.0  # so many times nearer a preparation must be to be taken for the right one
FAINT = 0.3  # standard deviations at the first site that need no explanation
LARGE = 12.0  # no image that was divided by 255 and normalized, even twice, has greater values
ENDS = 0.02  # of the whole range: as near as this to black and white, images fill it
DARKEST = 0.1  # of white: what the greatest value of images is above
BEYOND = 2.0  # squared distances that differ by so many times their noise differ by more than chance
EXCHANGED = 0.12  # mean logarithm of the gaps' ratio
FEW = 16  # images below which only values that are too large are told from a shift


class Preparation(NamedTuple):
    """How images in 0 to 1 become a network's input: ``(x - mean) / std``, by colour."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def undone(self, x: Tensor) -> Tensor:
        """The images in 0 to 1."""
        return x * self._of(self.std, x) + self._of(self.mean, x)

    def done(self, x: Tensor) -> Tensor:
        """The network's input."""
        return (x - self._of(self.mean, x)) / self._of(self.std, x)

    @staticmethod
    def _of(values: tuple[float, float, float], x: Tensor) -> Tensor:
        return torch.tensor(values, dtype=x.dtype, device=x.device).view(3, 1, 1)


BYTE = 1 / 255
PREPARATIONS = (
    Preparation("values of 0 to 255", (0.0, 0.0, 0.0), (BYTE, BYTE, BYTE)),
    Preparation("values of 0 to 1", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    Preparation("colours normalized by mean 0.5 and standard deviation 0.5", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Preparation(
        "colours normalized by ImageNet's mean (0.485, 0.456, 0.406) and standard deviation (0.229, 0.224, 0.225)",
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    ),
)


class _SeenError(BaseException):  # which no forward catches
    """Ends a forward at the first site."""


OnForeign = Literal["raise", "adapt"]


class Foreign(NamedTuple):
    """Images that are no shift of what the model knows, but prepared in another way.

    Args:
        given: what was given, in words.
        expected: what the model expects, in words.
        distance: how far the images are at the first site, in standard deviations of the source.
    """

    given: str
    expected: str
    distance: float

    @property
    def reason(self) -> str:
        """In a sentence."""
        return (
            f"the images look wrongly prepared, not shifted: they have {self.given}; the model expects {self.expected}"
        )

    def error(self) -> ValueError:
        """What refuses them."""
        return ValueError(
            f"the images have {self.given}, and are {self.distance:.3g} standard deviations of the source away at its first "
            f"norm. The model expects {self.expected}. Prepare them as in training, or adapt all the same by foreign='adapt'. "
            f"Nothing was changed."
        )


def check_on_foreign(choice: str) -> None:
    """Refuse another word than the two."""
    if choice not in ("raise", "adapt"):
        raise ValueError(
            f"foreign={choice!r} was given. It is what to do with images that look prepared for another model. Use 'raise' or "
            f"'adapt'."
        )


def preparation(
    model: nn.Module,
    images: Any,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    samples: int,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
) -> Foreign | None:
    r"""How images were prepared otherwise than the model expects, or ``None`` where nothing says so; nothing is changed.

    Where the images' range tells how they were prepared, each other preparation is tried, and is the right one if they are twice
    as near to the source by it at the first site, by means or together with deviations, in forwards that end there. Values
    beyond 12 that are six standard deviations away there are no corruption either. Red and blue count as exchanged where the
    exchange brings images nearer there, by more than chance, and then at all sites,
    :math:`\operatorname{mean}_{sites} \log (\delta_{given} / \delta_{exchanged}) > 0.12`.

    Only batches of images, ``(N, 3, H, W)`` in floating point, are looked at; of fewer than 16 only values beyond 12.

    Args:
        samples: how many images there are, over all ranks.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
        >>> preparation(model, 255 * torch.rand(8, 3, 5, 5), renorm.banks.site_tensors(model, None), None, 8).expected
        'values from 0 to 1'
    """
    x = picture(images)
    if x is None:
        return None

    def replaced(new: Tensor) -> Any:
        return tree_map_only(Tensor, lambda t: new if t is x else t, images)

    def look(new: Tensor) -> Tensor:
        return first_look(model, replaced(new), targets, branch, group=group, forward=forward)

    def gaps(new: Tensor) -> Tensor:
        return evidence(model, replaced(new), targets, branch, samples, group=group, forward=forward).gap

    low, high, mean = ranges(x, group)
    large = max(-float(low.min()), float(high.max())) > LARGE
    if samples < FEW and not large:
        return None
    given, there = f"values from {low.min():.3g} to {high.max():.3g}, of mean {mean:.3g}", look(x)
    tried = {other.name: look(other.done(was.undone(x))) for was, other in other_preparations(low, high)}
    best = min(tried, key=lambda name: float(tried[name][1]), default="")
    if best and nearer(tried[best], there):
        return Foreign(given, best, float(there[1]))
    if large and there[1] > FAR:
        least = f"values within {FAR:g} standard deviations of the source at its first norm"
        return Foreign(given, least, float(there[1]))
    exchanged = x.flip(1)
    if samples >= FEW and there[0].square() - look(exchanged)[0].square() > BEYOND * there[2].square():
        gain = (gaps(x) / gaps(exchanged)).log().mean()
        if float(gain) > EXCHANGED:
            return Foreign("blue where red should be (BGR)", "red, green and blue in this order (RGB)", float(there[1]))
    return None


def nearer(a: Tensor, b: Tensor) -> bool:
    """Whether one of two looks explains away what the other saw."""
    return bool((b > (NEARER * a).clamp(min=FAINT))[:2].any())


def picture(images: Any) -> Tensor | None:
    """The batch's images, where they have three colours in floating point; else ``None``."""
    leaves = tree_leaves(dict(images) if isinstance(images, Mapping) else images)
    x = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), None)
    return x if x is not None and x.ndim == 4 and x.shape[1] == 3 and x.is_floating_point() and x.numel() else None


def other_preparations(low: Tensor, high: Tensor) -> Iterator[tuple[Preparation, Preparation]]:
    """How images of a range were prepared, as far as that tells, with every other preparation. Shape: ``(3,)`` each.

    Values that are never negative were not normalized, as some pixels of many images are dark; others reach black and white.
    """
    for was in PREPARATIONS:
        black, white = (was.undone(t.view(3, 1, 1)).flatten() for t in (low, high))
        inside = black.min() > -0.001 and white.max() < 1.001
        filled = black.max() < ENDS and white.min() > 1 - ENDS
        if inside and (filled or (not any(was.mean) and white.max() > DARKEST)):
            yield from ((was, other) for other in PREPARATIONS if other is not was)


def ranges(x: Tensor, group: dist.ProcessGroup | None) -> tuple[Tensor, Tensor, float]:
    """The least and greatest value of each colour over all ranks, and this rank's mean."""
    x = x.detach().float()
    low, high = x.amin((0, 2, 3)), x.amax((0, 2, 3))
    if group is not None:
        dist.all_reduce(low, dist.ReduceOp.MIN, group=group)
        dist.all_reduce(high, dist.ReduceOp.MAX, group=group)
    return low, high, float(x.mean())


def first_look(
    model: nn.Module,
    images: Any,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
) -> Tensor:
    """How far images are at the first site that they reach, in a forward that ends there. Shape: ``(3,)``.

    By means beyond their noise, by means and standard deviations together, and the noise; in standard deviations.
    """
    found: list[Tensor] = []
    num_images = num_samples(images)

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        rows = instance_moments(x)
        means = image_means(x, num_images)
        m, whole = pool(Moments(means, torch.zeros_like(means), 1)), pool(rows)
        if group is not None:
            m, whole = all_merge(m, group=group), all_merge(whole, group=group)
        gap, noise = compared(m, site)
        scale = site.var + float(getattr(site.module, "eps", 1e-5))
        spread = ((whole.var[0] + scale - site.var).sqrt() - scale.sqrt()).square() / scale
        noise = noise.nan_to_num(posinf=0)
        by_means = (gap - noise).clamp(min=0)
        found.append(torch.stack([by_means, by_means + spread.mean(), noise]).sqrt())
        raise _SeenError

    with suppress(_SeenError), observed(model, targets, branch, observe):
        call(model, images, forward)
    return found[0] if found else torch.zeros(3)
