"""A model under evaluation, and what it is evaluated with."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import renorm
from renorm.data import Images

BATCH = 256  # images of one forward, at most
PIXELS = 2**20  # of one forward: larger activations cost more in fresh memory than they gain


@dataclass(frozen=True)
class Subject:
    """A model and what its input is normalized by, in units of 0 to 1."""

    model: nn.Module
    mean: Sequence[float]
    std: Sequence[float]

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.model.parameters()).device

    def normalize(self, x: Tensor) -> Tensor:
        """Turn pixels, uint8 or in [0, 1], into the model's input, on its device. Shape: ``(N, 3, H, W)``, kept."""
        x = x.to(self.device)
        x = x.float() / 255 if x.dtype == torch.uint8 else x
        mean, std = (torch.tensor(list(values), device=x.device).view(3, 1, 1) for values in (self.mean, self.std))
        return (x - mean) / std


@dataclass(frozen=True)
class Choice:
    """What to evaluate with: a branch of the model, a bank in its place, or (neither) the plain model as it is."""

    branch: str | None = None
    bank: "renorm.Bank | None" = None

    @contextmanager
    def opened(self, model: nn.Module) -> Iterator[None]:
        """Make the model's forwards inside use this choice."""
        with ExitStack() as stack:
            if self.bank is not None:
                stack.enter_context(renorm.using(model, self.bank, branch=self.branch))
            if self.branch is not None:
                stack.enter_context(renorm.route(model, self.branch))
            yield


Change = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def logits(
    subject: Subject, images: Images, choices: Mapping[str, Choice], change: Change | None = None
) -> dict[str, Tensor]:
    """Logits of all images in evaluation mode with each choice, on the CPU; the model's mode is given back.

    Args:
        subject: The model.
        images: What it sees, in order.
        choices: What to evaluate with, by name.
        change: Made to pixels before, given their indices.
    """
    found: dict[str, list[Tensor]] = {name: [] for name in choices}
    size = max(16, min(BATCH, PIXELS // images[0][0][0].numel()))
    with evaluating(subject.model):
        for indices in torch.arange(len(images)).split(size):
            pixels = images.batch(indices)[0]
            x = subject.normalize(pixels if change is None else change(pixels, indices))
            for name, choice in choices.items():
                with choice.opened(subject.model):
                    found[name].append(subject.model(x).float().cpu())
    return {name: torch.cat(parts) for name, parts in found.items()}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
