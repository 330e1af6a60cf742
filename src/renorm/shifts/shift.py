"""Changes of the data: none, a training view, a corruption of some severity, an attack, or other images altogether."""

import difflib
import io
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from renorm.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from renorm.corruptions import GROUPS as CORRUPTION_GROUPS
from renorm.data import VIEWS, Coding, Images, View, seeded
from renorm.extras import require
from renorm.seeds import stable_seed
from renorm.shifts.attacks import FORMS as ATTACKS
from renorm.shifts.attacks import Adversary, Threat, is_attack

Rounding = Literal["none", "8-bit", "jpeg"]

QUICK = ("gaussian_noise", "gaussian_blur", "contrast", "jpeg_compression")
GROUPS = {"quick": QUICK, **CORRUPTION_GROUPS}
DEFAULT = (*VIEWS, "quick")
USUAL = Threat()
FORMS = (
    f"{', '.join(VIEWS)}, a group ({', '.join(GROUPS)}), a corruption ({', '.join(CORRUPTIONS)}), groups and corruptions "
    f"perhaps with a severity 1 to 5 after a colon (contrast:3), an attack ({ATTACKS}), domains, or a folder of shifted images"
)


@dataclass(frozen=True)
class Shift:
    """A change of images that depends on each image's index and the seed only; or images of its own.

    Args:
        name: A view (severity 0), a corruption (1 to 5), an attack, a domain or another data set.
        severity: How strong.
        seed: Of its random numbers.
        scale: Whose severity tables: 32, 64 or 224 pixels; None for those nearest to the images.
        rounding: What becomes of pixels after a corruption: ``none`` keeps them as computed, ``8-bit`` rounds them to
            levels as published files hold them, ``jpeg`` also codes them as the published ImageNet-C is coded.
        view: What makes the view.
        adversary: What makes the attack, of each bank apart: such a shift cannot be called.
        images: Those that were read for this shift; None where the data are changed.
        outputs: Of the model's outputs those that the labels of ``images`` count; None for all of them, in order.
    """

    name: str
    severity: int = 0
    seed: int = 0
    scale: int | None = None
    rounding: Rounding = "8-bit"
    view: View | None = field(default=None, compare=False)
    adversary: Adversary | None = field(default=None, compare=False)
    images: Images | None = field(default=None, compare=False)
    outputs: Tensor | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        """Refuse an unknown rounding, which would otherwise be found after the first corruption."""
        if self.rounding not in get_args(Rounding):
            raise ValueError(
                f"rounding {self.rounding!r} is unknown: one of {', '.join(get_args(Rounding))} is needed. Choose one."
            )

    def __call__(self, pixels: Tensor, indices: Tensor, device: torch.device | str = "cpu") -> Tensor:
        """Change images; corruptions are computed on the device.

        Shape: uint8 ``(N, 3, H, W)``, kept, and their indices ``(N,)``; uint8, or without rounding floating in [0, 1].
        """
        numbers = indices.tolist()
        if self.adversary is not None:
            raise TypeError(
                f"the shift {self.name} was called with images alone: an attack needs a model and labels too. Call its "
                f"adversary, or evaluate()."
            )
        if self.images is not None:
            return pixels
        if self.view is not None:
            changed = [
                seeded(self.view, image, self.seed, "evaluate", i, self.name)
                for image, i in zip(pixels, numbers, strict=True)
            ]
            return torch.stack(changed)
        seeds = [stable_seed(self.seed, i) for i in numbers]
        pixels = pixels.to(device)
        pixels = pixels / 255 if self.rounding == "none" else pixels
        corrupted = corrupt(pixels, self.name, self.severity, seeds, self.scale)
        return torch.stack([coded(each) for each in corrupted.cpu()]) if self.rounding == "jpeg" else corrupted

    @property
    def label(self) -> str:
        """Name and severity, for people."""
        return f"{self.name} {self.severity}" if self.severity else self.name


def coded(image: Tensor) -> Tensor:
    """An image after it was a JPEG file, as those of ImageNet-C are. Shape: uint8 ``(3, H, W)``, kept."""
    picture = require("PIL.Image").open(io.BytesIO(Coding("jpeg").encode(image)))
    pixels = bytearray(picture.convert("RGB").tobytes())
    return torch.frombuffer(pixels, dtype=torch.uint8).view(*image.shape[1:], 3).permute(2, 0, 1).contiguous()


def make_shifts(
    names: Iterable[str],
    make_view: Callable[[str], View],
    seed: int = 0,
    *,
    scale: int | None = None,
    rounding: Rounding = "8-bit",
    threat: Threat = USUAL,
) -> list[Shift]:
    """Shifts by name, each once.

    Args:
        names: Views; corruptions and the groups ``quick``, ``standard`` (15), ``held-out`` (4) and ``corruptions`` (19) of
            all five severities, or of one as in ``contrast:3`` or ``standard:5``; attacks, ``fgsm`` or ``pgd:20``.
        make_view: Gives the view of a name.
        seed: Of their random numbers.
        scale: Of corruptions, as of :class:`Shift`.
        rounding: Of corruptions, likewise.
        threat: What attacks may do.

    Raises:
        ValueError: For an unknown name or severity.
        ImportError: If an attack needs a library that is missing.

    Example:
        >>> [shift.label for shift in make_shifts(["contrast:2", "contrast:5"], make_view=lambda name: None)]
        ['contrast 2', 'contrast 5']
    """
    made = Shift("", 0, seed, scale, rounding)
    return list(dict.fromkeys(shift for name in names for shift in _parse(name, make_view, made, threat)))


def is_made(name: str) -> bool:
    """Whether a name stands for a change of the data, not for other images."""
    return name in VIEWS or is_attack(name) or name.partition(":")[0] in {**GROUPS, **CORRUPTIONS}


def _parse(text: str, make_view: Callable[[str], View], made: Shift, threat: Threat) -> Sequence[Shift]:
    name, _, severity = text.partition(":")
    if is_attack(text):
        adversary = threat.of(text)
        return [replace(made, name=adversary.name, adversary=adversary)]
    if name in VIEWS and not severity:
        return [replace(made, name=name, view=make_view(name))]
    corruptions = GROUPS.get(name, (name,) if name in CORRUPTIONS else ())
    if corruptions and (not severity or severity in map(str, SEVERITIES)):
        severities = [int(severity)] if severity else SEVERITIES
        return [replace(made, name=each, severity=number) for each in corruptions for number in severities]
    close = difflib.get_close_matches(name, [*VIEWS, *GROUPS, *CORRUPTIONS, "fgsm", "pgd", "domains"], n=3, cutoff=0.4)
    meant = f"Did you mean {' or '.join(close)}?" if close else "Choose one of them."
    raise ValueError(f"unknown shift {text!r}: one of {FORMS} is needed. {meant}")
