"""What numbers must share to be compared, and where they come from."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn

from renorm.banks import Choice, hash_of, unwrap
from renorm.corruptions import CORRUPTIONS, nearest_scale
from renorm.data import Images, Origin
from renorm.models import Classifier
from renorm.shifts import Shift
from renorm.version import __version__

STORED = "stored"  # the rounding of images that were read, not made


@dataclass(frozen=True)
class ImageSet:
    """Which images: where they come from, how many, and hashes of their pixels and of their labels in order.

    Args:
        name: Of the data.
        images: How many.
        fingerprint: Hash of their pixels; nothing of images that were not read.
        labels: Hash of their labels.
        outputs: Hash of the model's outputs that labels count; nothing where they count all.
        origin: How they were read, where that is known; the same images elsewhere are the same set.
    """

    name: str
    images: int
    fingerprint: str
    labels: str
    outputs: str = ""
    origin: Origin | None = field(default=None, compare=False)

    @classmethod
    def of(cls, images: Images, outputs: Tensor | None = None, *, read: bool = True) -> ImageSet:
        """The set that images are, read in order to be hashed or not."""
        labels, columns = ("" if numbers is None else _hash(numbers) for numbers in (images.labels, outputs))
        fingerprint = images.fingerprint if read else ""
        return cls(images.name, len(images), fingerprint, labels, columns, images.origin)

    @classmethod
    def from_values(cls, values: Mapping[str, Any]) -> ImageSet:
        """The set that :func:`dataclasses.asdict` took apart."""
        origin = values.get("origin")
        return cls(**{**values, "origin": None if origin is None else Origin.from_values(origin)})

    @property
    def unread(self) -> tuple[str, int, str, str]:
        """What is known before images are read."""
        return self.name, self.images, self.labels, self.outputs


@dataclass(frozen=True)
class Protocol:
    """How a table was made.

    Args:
        data: The images that shifts were made of; None where all were read.
        stored: Images that were read for a shift, by its label.
        classes: How many classes the data have.
        scale: Side in pixels whose severity tables were used.
        rounding: What became of pixels after a corruption: ``none``, ``8-bit`` or ``jpeg``.
        views: What each view among the shifts does.
        attacks: How images are attacked, by the shift.
        seed: Of the draw of images, the shifts and the intervals.
        model: Its name or file.
        training: How it was trained, as far as its run says: norms, branches, what was mixed.
        weights: Hash of all its parameters and buffers.
        mean: What the input was normalized by, in 0 to 1.
        std: Likewise.
        preprocessing: What became of images before, in words: the part that is shown, at what size, and who says so.
        banks: How each bank was made.
        versions: Of renorm, torch and Python, and the device.
        command: What was typed.
    """

    data: ImageSet | None = None
    stored: Mapping[str, ImageSet] = field(default_factory=dict)
    classes: int = 0
    scale: int | None = None
    rounding: str = ""
    views: Mapping[str, str] = field(default_factory=dict)
    attacks: Mapping[str, str] = field(default_factory=dict)
    seed: int = 0
    model: str = ""
    training: str = ""
    weights: str = ""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    preprocessing: str = ""
    banks: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    command: str = ""

    @property
    def known(self) -> bool:
        """Whether it says anything: a table of before protocols were written does not."""
        return self.data is not None or bool(self.stored or self.weights)

    @property
    def normalization(self) -> str:
        """Mean and standard deviation in words."""
        return f"mean {_listed(self.mean)} std {_listed(self.std)}" if self.mean else ""

    def images_of(self, shift: str, severity: int) -> ImageSet | None:
        """The images behind a shift."""
        return self.stored.get(label(shift, severity), self.data)

    def pixels(self, shift: str, severity: int) -> dict[str, str]:
        """What two cells must share, so that both saw the same pixels: empty where a field makes no difference."""
        images = self.images_of(shift, severity)
        read, made = label(shift, severity) in self.stored, shift in CORRUPTIONS
        return {
            "data": images.fingerprint if images else "",
            "images": str(images.images) if images else "",
            "scale": str(self.scale or "") if made and not read else "",
            "rounding": STORED if read else self.rounding if made else "",
            "view": "" if read else self.views.get(shift, ""),
            "attack": "" if read else self.attacks.get(shift, ""),
            "seed": "" if read or shift == "clean" else str(self.seed),
        }

    def columns(self, bank: str, shift: str, severity: int) -> dict[str, str]:
        """What a row of the table says of how it was made."""
        images, pixels = self.images_of(shift, severity), self.pixels(shift, severity)
        return {
            "data": images.name if images else "",
            "data_hash": pixels["data"],
            "scale": pixels["scale"],
            "rounding": pixels["rounding"],
            "attack": pixels["attack"],
            "normalization": self.normalization,
            "recipe": self.banks.get(bank, ""),
            "model": self.model,
            "training": self.training,
            "model_hash": self.weights,
            "versions": ", ".join(f"{name} {value}" for name, value in self.versions.items()),
            "command": self.command,
        }

    def to_json(self) -> str:
        """As text, which :meth:`from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Protocol:
        """Read what :meth:`to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["data"] = ImageSet.from_values(values["data"]) if values["data"] else None
        values["stored"] = {name: ImageSet.from_values(each) for name, each in values["stored"].items()}
        values["mean"], values["std"] = tuple(values["mean"]), tuple(values["std"])
        return cls(**values)


def describe(
    classifier: Classifier,
    images: Images | None,
    choices: Mapping[str, Choice],
    shifts: Sequence[Shift],
    adapted: Mapping[str, str] | None = None,
    *,
    model: str = "",
    training: str = "",
    preprocessing: str = "",
    command: str = "",
) -> Protocol:
    """How a table will be made, all but the images that shifts bring along: these are hashed when they are read.

    Args:
        classifier: The model.
        images: To evaluate on.
        choices: Banks.
        shifts: Changes of the data.
        adapted: How banks are made that are made for each shift.
        model: Its name or file.
        training: How it was trained.
        preprocessing: What becomes of images before.
        command: What was typed.
    """
    made = [shift for shift in shifts if shift.images is None]
    corrupted = [shift for shift in made if shift.name in CORRUPTIONS]
    shown, scale = shifts[0].images if images is None else images, None
    if corrupted and images is not None:
        scale = corrupted[0].scale or nearest_scale(*images[0][0].shape[-2:])
    return Protocol(
        data=None if images is None or not made else ImageSet.of(images),
        classes=0 if shown is None else len(shown.classes),
        scale=scale,
        rounding=corrupted[0].rounding if corrupted else "",
        views={shift.name: _described(shift.view) for shift in made if shift.view is not None},
        attacks={shift.name: shift.adversary.description for shift in made if shift.adversary is not None},
        seed=shifts[0].seed,
        model=model,
        training=training,
        weights=fingerprint(classifier.model),
        mean=tuple(classifier.mean),
        std=tuple(classifier.std),
        preprocessing=preprocessing,
        banks={**{name: choice.made for name, choice in choices.items()}, **(adapted or {})},
        versions=versions(classifier.device),
        command=command,
    )


def _hash(numbers: Tensor) -> str:
    return hashlib.sha256(numbers.contiguous().numpy().data).hexdigest()[:16]


def _described(view: object) -> str:
    text = repr(view) if is_dataclass(view) else getattr(view, "__qualname__", type(view).__name__)
    return re.sub(r" at 0x\w+", "", text)


def label(shift: str, severity: int) -> str:
    """Name and severity, for people: ``contrast 3``, ``clean``."""
    return f"{shift} {severity}" if severity else shift


def fingerprint(model: nn.Module) -> str:
    """16 hexadecimal digits of the SHA-256 of all parameters and buffers, statistics included."""
    state = unwrap(model).state_dict()
    return hash_of({key: value for key, value in sorted(state.items()) if isinstance(value, Tensor)})[:16]


def versions(device: torch.device) -> dict[str, str]:
    """What computed."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    python = sys.version.split()[0]
    return {"renorm": __version__, "torch": str(torch.__version__), "python": python, "device": name}


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
