"""A model with how its input is normalized, its branches, and what its outputs stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from renorm.banks import evaluating, following
from renorm.data import Images, in_order, tell_order
from renorm.surgery import fold

WRAP = "Name a function, file.py:function, that makes a network which calls it and"


@dataclass(frozen=True)
class Classifier:
    """A model and what its input is normalized by, in units of 0 to 1.

    Args:
        model: With branches or without.
        mean: Of its input.
        std: Of its input.
        branches: Its branches; none for a plain model.
        classes: Names of its outputs, if known.
        size: Side of the images it was trained on, if known.
    """

    model: nn.Module
    mean: Sequence[float]
    std: Sequence[float]
    branches: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    size: int | None = None

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

    def answer(self, x: Tensor, numbers: bool = True) -> Tensor:
        """The model's logits for its input, which are looked at. Shape: ``(N, 3, H, W) -> (N, classes)``, float32.

        Args:
            x: The input.
            numbers: Whether NaN and infinity are refused, which early in a training may come and go.

        Raises:
            ValueError: The model gives something else, or no numbers.
        """
        return self._logits(self.model(x), len(x), numbers)

    def check(self, images: Images) -> None:
        """Refuse a model that cannot take images, or gives something else than logits for them.

        Raises:
            ValueError: So it is.
        """
        pixels = images.batch(range(min(2, len(images))))[0]
        self._logits(self.check_takes(pixels), len(pixels))

    def check_takes(self, pixels: Tensor) -> Any:
        """Refuse images that the model cannot take, and give what it gives for them, in evaluation mode.

        Raises:
            ValueError: It fails on them.
        """
        x, branch = self.normalize(pixels), self.branches[0] if self.branches else None
        try:
            with torch.no_grad(), evaluating(self.model), following(self.model, branch):
                return self.model(x)
        except Exception as error:  # code of the user's raises whatever it does
            reason = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
            raise ValueError(
                f"{self.kind} fails on images of shape {tuple(x.shape)} ({reason}). A network that takes one batch of RGB images "
                f"is needed. {WRAP} takes these."
            ) from error

    @property
    def kind(self) -> str:
        """The model's class."""
        return type(self.model).__name__

    def _logits(self, y: Any, n: int, numbers: bool = True) -> Tensor:
        if not isinstance(y, Tensor) or y.ndim != 2 or len(y) != n:
            given = f"shape {tuple(y.shape)}" if isinstance(y, Tensor) else f"type {type(y).__name__}"
            raise ValueError(
                f"{self.kind} gives an output of {given} for {n} images: logits of shape (images, classes) are needed. {WRAP} "
                "returns them alone."
            )
        if numbers and not bool(
            (y < torch.inf).all()
        ):  # what is masked by -inf is no class, and NaN is less than nothing
            raise ValueError(
                f"{self.kind} gives logits that are no numbers (NaN, inf): of them nothing follows. Finite weights, statistics "
                "and inputs are needed. Look for NaN in the file of weights, and whether half precision overflows."
            )
        return y.float()

    def in_order(self, images: Images) -> Images:
        """Images with labels that count the model's outputs; see :func:`renorm.data.classes.in_order`."""
        tell_order(images, self.classes)
        return in_order(images, self.classes)

    def folded(self, branch: str | None) -> nn.Module:
        """The plain model of a branch, proved equal to it on random input."""
        if branch is None:
            return self.model
        size = self.size or 32
        probe = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0)).to(self.device)
        return fold(self.model, branch, probe=probe)
