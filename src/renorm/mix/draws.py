"""What one training step draws when it mixes samples: partners, and how much of whose label."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from renorm.routing import Route, Selection

Criterion = Callable[[Tensor, Tensor], Tensor]
Weight = float | Tensor
Within = tuple[Route, Selection]
GOLDEN = 0x9E3779B97F4A7C15  # 2^64 over the golden ratio: its multiples are far apart in their low bits too


@dataclass(frozen=True, eq=False)
class Draw:
    r"""What one step has drawn for a batch of N samples, one permutation for all that is mixed.

    With c the weight of a sample's own pixels, m that of its own moments and :math:`\pi` the permutation, the loss is

    .. math:: c m \, l(y) + [(1-c) m + c (1-m)] \, l(y_\pi) + (1-c)(1-m) \, l(y_{\pi\pi})

    as the donor of moments, :math:`\pi(n)`, has pixels of :math:`\pi(\pi(n))`. Where only one of both was drawn this is its
    ordinary loss of two terms.

    Args:
        permutation: ``(N,)`` int64, the partner of each sample.
        donors: ``(N,)``, whose moments each sample gets, its own index where it keeps its own; ``None`` if all do.
        moments: the weight m, a number or ``(N,)``; 1 where nothing is exchanged.
        pixels: the weight c; 1 where no image is mixed.
        box: rows and columns that are pasted, ``(top, left, bottom, right)``.
        within: the route and the selection whose branches partners were kept in, if they were.

    Reference: Li, Wu, Lim, Belongie & Weinberger, *On feature normalization and data augmentation*, CVPR 2021.

    Example:
        >>> draw = Draw(torch.tensor([1, 2, 0]), moments=0.9, pixels=0.7)
        >>> [(round(weight, 2), labels.tolist()) for weight, labels in draw.terms(torch.tensor([5, 6, 7]))]
        [(0.63, [5, 6, 7]), (0.34, [6, 7, 5]), (0.03, [7, 5, 6])]
    """

    permutation: Tensor
    donors: Tensor | None = None
    moments: Weight = 1.0
    pixels: float = 1.0
    box: tuple[int, int, int, int] | None = None
    within: Within | None = None

    def terms(self, targets: Tensor) -> list[tuple[Weight, Tensor]]:
        """The weights of the loss and the labels each belongs to; terms of weight 0 are left out.

        Shape: targets ``(N, *)``, to the same.
        """
        if not isinstance(targets, Tensor) or targets.shape[:1] != self.permutation.shape:
            given = f"shape {tuple(targets.shape)}" if isinstance(targets, Tensor) else f"type {type(targets).__name__}"
            raise ValueError(
                f"targets of {given} were given, and the step was drawn for {len(self.permutation)} samples. Labels are mixed "
                f"sample by sample. Pass the targets of the whole batch, in its order, as a tensor."
            )
        c, once = self.pixels, self.permutation.to(targets.device)
        m = self.moments.to(targets.device) if isinstance(self.moments, Tensor) else self.moments
        weights = [c * m, (1 - c) * m + c * (1 - m), (1 - c) * (1 - m)][: 2 if c == 1 else 3]
        labels = targets, targets[once], targets[once[once]]
        return [(w, y) for w, y in zip(weights, labels, strict=False) if isinstance(w, Tensor) or w > 0]

    def loss(self, criterion: Criterion, logits: Tensor, targets: Tensor) -> Tensor:
        """The weighted sum of the criterion over :meth:`terms`, of the shape that the criterion gives."""
        return torch.stack([_weighted(w, criterion(logits, labels)) for w, labels in self.terms(targets)]).sum(0)

    def probabilities(self, targets: Tensor, num_classes: int) -> Tensor:
        """Mixed labels for a criterion that takes probabilities. Shape: ``(N,)`` classes, or ``(N, num_classes)``
        probabilities, to ``(N, num_classes)``.
        """
        targets = targets if targets.is_floating_point() else F.one_hot(targets, num_classes).float()
        mixed = [_weighted(w, labels) for w, labels in self.terms(targets)]
        return torch.stack(mixed).sum(0)


def _weighted(weight: Weight, value: Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        return weight * value
    if value.shape[:1] != weight.shape:
        raise ValueError(
            f"the criterion gave a tensor of shape {tuple(value.shape)} for {len(weight)} samples that each decide by "
            f"themselves. Their losses are weighted one by one. Use a criterion with reduction='none', or train on "
            f"probabilities(targets, num_classes)."
        )
    return weight.to(value.dtype).view(-1, *(1,) * (value.ndim - 1)) * value


class Mixing(ABC):
    """A way to mix samples in training, as a loop calls it: once with the batch, once for the loss."""

    draw: Draw | None = None

    @property
    @abstractmethod
    def training(self) -> bool:
        """Whether the model trains; nothing is mixed otherwise."""

    @abstractmethod
    def sample(self, x: Tensor, generator: torch.Generator | None = None, groups: Tensor | None = None) -> Draw:
        """Draw what a step with the batch ``x`` does, and change nothing."""

    @abstractmethod
    def use(self, draw: Draw | None) -> None:
        """Make the next forwards, until their loss, follow a draw; ``None`` is none."""

    @abstractmethod
    def apply(self, x: Tensor, draw: Draw) -> Tensor:
        """The batch as the model gets it."""

    def __call__(self, x: Tensor, generator: torch.Generator | None = None, groups: Tensor | None = None) -> Tensor:
        """Draw a step, make the next forward follow it, and give the batch that the model gets.

        In evaluation mode nothing is drawn and the batch comes back as it is.

        Args:
            generator: gives one number, from which all else is drawn, on each rank its own; PyTorch's default one if
                there is none.
            groups: ``(N,)`` int64; partners are samples of equal number, whatever branches the model has.
        """
        if not isinstance(x, Tensor):
            raise TypeError(
                f"a batch of type {type(x).__name__} was given. Partners are drawn for the samples of a tensor, (N, ...). "
                f"Pass the tensor of inputs, and put what comes back in its place."
            )
        draw = self.sample(x, generator, groups) if self.training else None
        self.use(draw)
        return x if draw is None else self.apply(x, draw)

    def terms(self, targets: Tensor) -> list[tuple[Weight, Tensor]]:
        """The loss of the step as weights and labels, for criteria that :meth:`loss` does not fit. See :meth:`Draw.terms`."""
        draw = self.finish()
        return [(1.0, targets)] if draw is None else draw.terms(targets)

    def loss(self, criterion: Criterion, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss of the step: the criterion over the labels that were mixed. In evaluation mode, the criterion itself.

        Raises:
            RuntimeError: nothing was drawn, or no forward followed what was.
            ValueError: targets of another number of samples, a criterion that reduces where samples decide one by one.
        """
        draw = self.finish()
        return criterion(logits, targets) if draw is None else draw.loss(criterion, logits, targets)

    def probabilities(self, targets: Tensor, num_classes: int) -> Tensor:
        """Mixed labels of the step for a criterion that takes probabilities. See :meth:`Draw.probabilities`."""
        draw = self.finish() or Draw(torch.arange(len(targets)))
        return draw.probabilities(targets, num_classes)

    def finish(self) -> Draw | None:
        """End the forwards of the step: what was drawn, ``None`` in evaluation mode."""
        if not self.training:
            return None
        if self.draw is None:
            raise RuntimeError(
                "a loss was asked for, and no step was drawn. Labels are mixed as the batch was. "
                "Call x = mix(x) before the forward, in training mode."
            )
        return self.draw


class StepRandom(NamedTuple):
    """Random numbers of one step: ``scalars`` of Python, ``tensors`` of PyTorch."""

    scalars: random.Random
    tensors: torch.Generator


def step_random(generator: torch.Generator | None = None) -> StepRandom:
    """Random numbers of one step and this rank, from one number of the generator: ranks seeded alike differ."""
    device = "cpu" if generator is None else generator.device
    number = int(torch.randint(2**62, (), generator=generator, device=device))
    rank = dist.get_rank() if dist.is_available() and dist.is_initialized() else 0
    seed = (number + rank * GOLDEN) % 2**63
    return StepRandom(random.Random(seed), torch.Generator().manual_seed(seed))


def permutation_within(branches: Tensor | None, num_samples: int, generator: torch.Generator) -> Tensor:
    """A random permutation that keeps every sample in its branch, all in one for ``None``. Shape: ``(N,)`` to ``(N,)``.

    Example:
        >>> permutation_within(torch.tensor([0, 1, 0, 1, 1]), 5, torch.Generator().manual_seed(1))
        tensor([0, 4, 2, 3, 1])
    """
    shuffled = torch.randperm(num_samples, generator=generator)
    if branches is None:
        return shuffled
    shuffled = shuffled.to(branches.device)
    permutation = torch.empty_like(shuffled)
    permutation[branches.argsort(stable=True)] = shuffled[branches[shuffled].argsort(stable=True)]
    return permutation


def selected(model: nn.Module) -> Within | None:
    """The route of a model that has branches, and the selection that a step drawn now belongs to."""
    found = (vars(module).get("route") for module in model.modules())
    route = next((each for each in found if isinstance(each, Route) and len(each.branches) > 1), None)
    if route is None:
        return None
    selection = route.selected(training=True)
    if selection is None:
        raise RuntimeError(
            f"a step was drawn without a route for a model with the branches {list(route.branches)}. Samples are mixed within "
            f"their branch. Call x = mix(x) inside `with renorm.route(model, ...)`, or set across_branches=True."
        )
    return route, selection


def draw_permutation(x: Tensor, random: StepRandom, within: Within | None, groups: Tensor | None = None) -> Tensor:
    """A permutation of a batch, on its device; within groups, or the branches of a selection, if there are any."""
    if groups is not None and groups.shape != x.shape[:1]:
        raise ValueError(
            f"groups of shape {tuple(groups.shape)} were given for {len(x)} samples. Each sample needs its group. "
            f"Pass a tensor ({len(x)},) of integers."
        )
    if groups is None and within is not None:
        groups = _branches_of(x, within[1])
    return permutation_within(groups, len(x), random.tensors).to(x.device)


def _branches_of(x: Tensor, selection: Selection) -> Tensor | None:
    if selection.beside == 1:
        return None
    branches = selection.index(len(x), x.device)
    if len(branches) != len(x):
        raise ValueError(
            f"a batch of {len(x)} samples was given under a route that divides {len(branches)}. Each sample needs its branch. "
            f"Give the route the sizes of this batch."
        )
    return branches
