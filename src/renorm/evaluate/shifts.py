"""Changes of the data: none, a training view, a corruption of some severity."""

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from renorm.augment import NAMES as VIEWS
from renorm.augment import View, seeded
from renorm.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from renorm.corruptions.draw import stable_seed

STANDARD = (*VIEWS, *CORRUPTIONS)


@dataclass(frozen=True)
class Shift:
    """A change of images that depends on each image's index and the seed only.

    Args:
        name: A view (severity 0) or a corruption (1 to 5).
        severity: How strong.
        seed: Of its random numbers.
        view: What makes the view.
    """

    name: str
    severity: int = 0
    seed: int = 0
    view: View | None = field(default=None, compare=False)

    def __call__(self, pixels: Tensor, indices: Tensor) -> Tensor:
        """Change images. Shape: uint8 ``(N, 3, H, W)``, kept; their indices ``(N,)``."""
        numbers = indices.tolist()
        if self.view is not None:
            changed = [
                seeded(self.view, image, self.seed, "evaluate", i, self.name)
                for image, i in zip(pixels, numbers, strict=True)
            ]
            return torch.stack(changed)
        return corrupt(pixels, self.name, self.severity, [stable_seed(self.seed, i) for i in numbers])

    @property
    def label(self) -> str:
        """Name and severity, for people."""
        return f"{self.name} {self.severity}" if self.severity else self.name


def shifts(names: Iterable[str], make_view: Callable[[str], View], seed: int = 0) -> list[Shift]:
    """Shifts by name: a view, a corruption (all five severities), or ``corruption:severity``.

    Args:
        names: For instance ``clean``, ``contrast``, ``gaussian_noise:3``.
        make_view: Gives the view of a name.
        seed: Of their random numbers.

    Raises:
        ValueError: For an unknown name or severity.

    Example:
        >>> [shift.label for shift in shifts(["contrast:2", "contrast:5"], make_view=lambda name: None)]
        ['contrast 2', 'contrast 5']
    """
    return [shift for name in names for shift in _parse(name, make_view, seed)]


def _parse(text: str, make_view: Callable[[str], View], seed: int) -> Sequence[Shift]:
    name, _, severity = text.partition(":")
    if name in VIEWS and not severity:
        return [Shift(name, 0, seed, make_view(name))]
    if name in CORRUPTIONS and not severity:
        return [Shift(name, each, seed) for each in SEVERITIES]
    if name in CORRUPTIONS and severity in map(str, SEVERITIES):
        return [Shift(name, int(severity), seed)]
    close = difflib.get_close_matches(name, STANDARD, n=3, cutoff=0.4)
    meant = f"Did you mean {' or '.join(close)}?" if close else "Choose one of them."
    raise ValueError(
        f"unknown shift {text!r}: one of {', '.join(STANDARD)} is needed, corruptions perhaps with a severity 1 to 5 "
        f"after a colon (contrast:3). {meant}"
    )
