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
from renorm.banks import Branch, Counted, Forward, SiteTensors, call, counted, observed
from renorm.functional import Moments, all_merge, instance_moments, pool

FAR = 6.0  # standard deviations at the first site that no corruption comes near, and other units exceed
NEARER = 2.0  # so many times nearer a preparation must be to be taken for the right one
FAINT = 0.3  # standard deviations at the first site that need no explanation
LARGE = 12.0  # no image that was divided by 255 and normalized, even twice, has greater values
ENDS = 0.02  # of the whole range: as near as this to black and white, images fill it
DARKEST = 0.1  # of white: what the greatest value of images is above
BEYOND = 2.0  # squared distances that differ by so many times their noise differ by more than chance
EXCHANGED = 0.12  # mean logarithm of the gaps' ratio
ALIKE = 0.2  # beyond chance, of pairs of images that are taken for one class
WIDE = 64  # pixels: images as large as this are looked at in the middle, at a quarter of the cost
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


class FirstLook(NamedTuple):
    """How far images are at the first site: by means beyond noise, with deviations as well, and the noise; in deviations."""

    means: float
    whole: float
    noise: float


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
    as near to the source by it at the first site, by means and deviations, in forwards that end there. Values beyond 12 that are
    six standard deviations away there are no corruption either. The order of colours: see :func:`exchanged`. Of a plain
    batch the first site is shown 16 images, and of large ones the middle.

    Only batches of images, ``(N, 3, H, W)`` in floating point, are looked at; of fewer than 16 only values beyond 12.

    Args:
        samples: how many images there are, over all ranks.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
        >>> _ = model[0].running_mean.fill_(0.5), model[0].running_var.fill_(1 / 12)
        >>> preparation(model, 255 * torch.rand(8, 3, 5, 5), renorm.banks.site_tensors(model, None), None, 8).expected
        'values of 0 to 1'
    """
    x = picture(images)
    if x is None:
        return None
    low, high, mean = ranges(x, group)
    large = max(-float(low.min()), float(high.max())) > LARGE
    if samples < FEW and not large:
        return None

    plain = images.batch if isinstance(images, Counted) and images.order is None else images

    def look(new: Tensor) -> FirstLook:
        if plain is x and samples == len(x) and group is None:
            return look_at_few(model, new[:FEW], targets, branch, forward=forward)
        batch = tree_map_only(Tensor, lambda t: new if t is x else t, images)
        return first_look(model, batch, targets, branch, group=group, forward=forward)

    given, there = f"values from {low.min():.3g} to {high.max():.3g}, of mean {mean:.3g}", look(x)
    others = other_preparations(low, high) if there.whole > FAINT else ()
    tried = {other.name: look(other.done(was.undone(x))) for was, other in others}
    best = min(tried, key=lambda name: tried[name].whole, default="")
    if best and nearer(tried[best], there):
        return Foreign(given, best, there.whole)
    if large and there.whole > FAR:
        return Foreign(given, f"values within {FAR:g} standard deviations of the source at its first norm", there.whole)
    if samples >= FEW and there.means**2 > BEYOND * there.noise**2 and nearer_by_colour(look(x.flip(1)), there):
        other = tree_map_only(Tensor, lambda t: x.flip(1) if t is x else t, images)
        if exchanged(model, images, other, targets, branch, samples, group=group, forward=forward):
            return Foreign("blue where red should be (BGR)", "red, green and blue in this order (RGB)", there.whole)
    return None


def nearer(a: FirstLook, b: FirstLook) -> bool:
    """Whether images prepared as for a are so much nearer that what was seen for b is no shift."""
    return b.whole > max(FAINT, NEARER * a.whole)


def nearer_by_colour(a: FirstLook, b: FirstLook) -> bool:
    """Whether the means of a are near the source, and nearer than those of b by more than chance."""
    return a.means < FAINT and b.means**2 - a.means**2 > BEYOND * b.noise**2


def exchanged(
    model: nn.Module,
    images: Any,
    other: Any,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    samples: int,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
) -> bool:
    r"""Whether the same images with red and blue exchanged are nearer to the source, so that they were exchanged.

    .. math:: \operatorname{mean}_{sites} \log (\delta_{given} / \delta_{exchanged}) > 0.12

    Images of one kind have a colour of their own, so this says nothing unless the model's predictions for them are of many
    classes: two of the same one at most 20 % more often than by chance.
    """
    outputs: list[Any] = []

    def kept(model: nn.Module, batch: Any) -> Any:
        outputs.append(call(model, batch, forward))
        return outputs[-1]

    given, swapped = (
        evidence(model, batch, targets, branch, samples, group=group, forward=kept).gap for batch in (images, other)
    )
    gain = float((given / swapped).log().mean())
    return gain > EXCHANGED and alike(outputs[0], samples, group) < ALIKE


def alike(output: Any, samples: int, group: dist.ProcessGroup | None) -> float:
    """How much more often than by chance two images are taken for one class; 1 where the output does not tell classes."""
    if not isinstance(output, Tensor) or output.ndim != 2 or output.shape[1] < 2 or samples < 2:
        return 1.0
    counts = torch.bincount(output.argmax(1), minlength=output.shape[1]).double()
    if group is not None:
        dist.all_reduce(counts, group=group)
    chance = 1 / len(counts)
    pairs = float((counts * (counts - 1)).sum()) / (samples * (samples - 1))
    return (pairs - chance) / (1 - chance)


def picture(images: Any) -> Tensor | None:
    """The batch's images, where they have three colours in floating point; else ``None``."""
    leaves = tree_leaves(dict(images) if isinstance(images, Mapping) else images)
    x = next((leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.ndim), None)
    return x if x is not None and x.ndim == 4 and x.shape[1] == 3 and x.is_floating_point() else None


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
    if len(x):
        low, high, mean = x.amin((0, 2, 3)), x.amax((0, 2, 3)), float(x.mean())
    else:  # this rank has no image
        low, high, mean = x.new_full((3,), torch.inf), x.new_full((3,), -torch.inf), 0.0
    if group is not None:
        dist.all_reduce(low, dist.ReduceOp.MIN, group=group)
        dist.all_reduce(high, dist.ReduceOp.MAX, group=group)
    return low, high, mean


def middle(few: Tensor) -> Tensor:
    """The middle of large images, which tells as much; small ones whole. Shape: ``(N, 3, H, W)`` to ``(N, 3, H', W')``."""
    height, width = few.shape[-2:]
    if min(height, width) < WIDE:
        return few
    return few[..., height // 4 : height - height // 4, width // 4 : width - width // 4]


def look_at_few(
    model: nn.Module,
    few: Tensor,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    *,
    forward: Forward | None = None,
) -> FirstLook:
    """How far a few images are at the first site, by their middle: a first layer may be a tenth of a network."""
    with suppress(Exception):  # a model that takes images of one size only
        return first_look(model, middle(few), targets, branch, forward=forward)
    return first_look(model, few, targets, branch, forward=forward)


def first_look(
    model: nn.Module,
    images: Any,
    targets: Mapping[str, SiteTensors],
    branch: Branch,
    *,
    group: dist.ProcessGroup | None = None,
    forward: Forward | None = None,
) -> FirstLook:
    """How far images are at the first site that they reach, in a forward that ends there."""
    found: list[Tensor] = []
    batch = counted(images, whole=forward is not None)

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        rows = instance_moments(x)
        means = image_means(x, batch.samples, batch.order)
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
        call(model, batch, forward)
    return FirstLook(*found[0].tolist()) if found else FirstLook(0, 0, 0)
