"""Example images of every view and every shift that a table has, as strips that a page carries inside."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data import VIEWS, Images, View, in_order, load, sample
from renorm.evaluate import ImageSet, Protocol, label
from renorm.extras import require
from renorm.report.grid import family_of, ordered
from renorm.report.records import Record
from renorm.report.section import Gallery, Picture, Section, Text
from renorm.shifts import is_attack, make_shifts, read_shifts

NUM, SIDE, TINY = 6, 96, 64  # images of a view; pixels of the larger side; of images whose pixels are to be seen
QUALITY, TINY_QUALITY = 75, 90  # of JPEG
NOTE = (
    "The views that branches are trained on, of the same test images, and one image under each shift of the table, in the "
    "severities that it has."
)
READ_ERRORS = (OSError, ValueError, ImportError)


Ways = Sequence[tuple[str, float]]
"""Where the images of a run may be, and the part of each that is held out where it has no test images."""

Views = Callable[[str], View]
"""Makes a view by its name, as the run was trained with it."""


@dataclass(frozen=True)
class Strip:
    """Images of a view or shift in a row.

    Args:
        name: Of the view or shift.
        family: Of corruptions, their kind.
        captions: Under each image.
        pixels: uint8 ``(N, 3, H, W)``.
    """

    name: str
    family: str
    captions: tuple[str, ...]
    pixels: Tensor

    def picture(self) -> Picture:
        """As a page shows it."""
        return Picture(self.name, self.uri(), self.captions, small=self.tiny)

    @property
    def tiny(self) -> bool:
        """Whether its pixels are to be seen one by one."""
        return max(self.pixels.shape[2:]) <= TINY

    def uri(self) -> str:
        """As a JPEG inside an address."""
        images = [_small(image) for image in self.pixels]
        gap = max(1, images[0].shape[2] // 24)
        whole = torch.cat([F.pad(image, (0, gap), value=255) for image in images], 2)[:, :, :-gap]
        buffer = io.BytesIO()
        image = require("PIL.Image").fromarray(whole.permute(1, 2, 0).contiguous().numpy())
        image.save(buffer, "JPEG", quality=TINY_QUALITY if self.tiny else QUALITY, subsampling=0 if self.tiny else 2)
        return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _small(image: Tensor) -> Tensor:
    """An image of at most so many pixels; small ones as they are. Shape: uint8 ``(3, H, W)``."""
    if max(image.shape[1:]) <= SIDE:
        return image
    size = [max(1, round(side * SIDE / max(image.shape[1:]))) for side in image.shape[1:]]
    return F.interpolate(image[None].float(), size, mode="area")[0].round().to(torch.uint8)


def examples(record: Record, ways: Ways, views: Callable[[Images], Views]) -> Section:
    """Images of all that a table has, or why there are none.

    Args:
        record: A run and its table.
        ways: Where its images may be, if the table does not say.
        views: Gives the views of images.

    Raises:
        ValueError: If the images at ``record.data`` are not those of the table.
        FileNotFoundError: If there is nothing.
    """
    found, missing = illustrate(record, ways, views)
    families = dict.fromkeys(strip.family for strip in found)
    body = [Gallery(f or "views", [strip.picture() for strip in found if strip.family == f]) for f in families]
    remark = [Text(missing)] if missing else []
    return Section("What the images look like", NOTE if found else "", [*body, *remark])


def illustrate(record: Record, ways: Ways, views: Callable[[Images], Views]) -> tuple[list[Strip], str]:
    """Strips of all that a table has, and what is missing and why."""
    protocol = record.results.protocol
    if not protocol.known:
        return [], "The table does not say what images it was made of, so there are no examples. Evaluate again."
    images = find_images(record, ways)
    stored = find_stored(record, ways, images)
    texts = []
    if images is None and protocol.data is not None:
        texts.append(
            f"The {protocol.data.images:,} images of {protocol.data.name} that the table was made of are not where they were, "
            "or have changed. Say where they are: renorm report --data."
        )
    absent = [name for name in protocol.stored if name not in stored]
    if absent:
        texts.append(f"No longer found are the images of {', '.join(absent)}.")
    changed = [] if images is None else _made(record, images, views(images))
    return _ordered(record, [*changed, *_stored(record, stored)]), " ".join(texts)


def _ordered(record: Record, found: Sequence[Strip]) -> list[Strip]:
    """Views first, then families in the order of tables."""
    order = ["", *dict.fromkeys(family_of(name) for name in ordered(record.results.shifts))]
    return sorted(found, key=lambda strip: order.index(strip.family))


def _made(record: Record, images: Images, views: Views) -> list[Strip]:
    """A few images of each view, and one in all its severities for each corruption."""
    made = [shift for shift in record.results.shifts if label(*shift) not in record.results.protocol.stored]
    pictured = [name for name in ordered(made) if not is_attack(name)]  # attacks look like the images
    names = dict.fromkeys([*VIEWS, *pictured])
    return [
        _view(record, images, name, views) if name in VIEWS else _corruption(record, images, name, made)
        for name in names
    ]


def _view(record: Record, images: Images, name: str, views: Views) -> Strip:
    indices = torch.linspace(0, len(images) - 1, min(NUM, len(images))).long()
    (change,) = make_shifts([name], views, record.results.protocol.seed)
    return Strip(name, "", (), _bytes(change(images.batch(indices)[0], indices)))


def _corruption(record: Record, images: Images, name: str, made: Sequence[tuple[str, int]]) -> Strip:
    protocol, index = record.results.protocol, torch.zeros(1, dtype=torch.int64)
    options: dict[str, Any] = {"scale": protocol.scale, "rounding": protocol.rounding or "8-bit"}
    wanted = [f"{name}:{severity}" for each, severity in sorted(made) if each == name]
    changes = make_shifts(wanted, _no_view, protocol.seed, **options)
    pixels = [_bytes(change(images.batch(index)[0], index)) for change in changes]
    return Strip(name.replace("_", " "), family_of(name), tuple(str(c.severity) for c in changes), torch.cat(pixels))


def _no_view(name: str) -> View:
    raise AssertionError(f"{name} is a corruption")


def _stored(record: Record, stored: Mapping[str, Images]) -> list[Strip]:
    found = record.results.shifts
    read = [_read(name, [shift for shift in found if shift[0] == name], stored) for name in ordered(found)]
    return [strip for strip in read if strip]


def _bytes(pixels: Tensor) -> Tensor:
    pixels = pixels.cpu()
    return pixels if pixels.dtype == torch.uint8 else (255 * pixels).round().to(torch.uint8)


def _read(name: str, found: Sequence[tuple[str, int]], stored: Mapping[str, Images]) -> Strip | None:
    """Of a shift with severities one image in each, of another a few images."""
    labels = [label(*shift) for shift in sorted(found) if label(*shift) in stored]
    if not labels:
        return None
    title, family = name.replace("_", " "), family_of(name)
    if len(labels) > 1 or found[0][1]:
        severities = tuple(str(severity) for _, severity in sorted(found) if label(name, severity) in stored)
        return Strip(title, family, severities, torch.cat([stored[each].batch([0])[0] for each in labels]))
    images = stored[labels[0]]
    indices = torch.linspace(0, len(images) - 1, min(NUM, len(images))).long()
    return Strip(title, family, (), images.batch(indices)[0])


def find_images(record: Record, ways: Ways) -> Images | None:
    """The images that a table was made of, in its order, if they can still be read where it says or where they are now.

    Raises:
        ValueError: If those at ``record.data`` are others.
        FileNotFoundError: If there is nothing where they are said to be.
    """
    protocol = record.results.protocol
    if protocol.data is None:
        return None
    if record.data is None:
        return next(_drawn(_candidates(record, ways), protocol), None)
    found = next(_drawn([_load(record, record.data)], protocol), None)
    if found is None:
        raise ValueError(
            f"the images in {record.data} are not the {protocol.data.images} of {protocol.data.name} that the table of "
            f"{record.name} was made of: the same ones in the same order are needed. Name the folder or file that it was "
            "evaluated on."
        )
    return found


def _load(record: Record, source: str, holdout: float = 0.0) -> Images:
    images = load(source, "test", size=record.config.get("size"), holdout=holdout)
    return in_order(images, record.about.get("classes", ()))


def _candidates(record: Record, ways: Ways) -> Iterator[Images]:
    """Images that may be the table's, as the commands would read them."""
    words = _words(record.results.protocol.command)
    named = [(words[i + 1], 0.0) for i, word in enumerate(words[:-1]) if word == "--data"]
    for source, holdout in dict.fromkeys((*named, *ways)):
        with suppress(*READ_ERRORS):
            yield _load(record, source, holdout)


def _drawn(found: Iterator[Images] | Sequence[Images], protocol: Protocol) -> Iterator[Images]:
    """Those of some images that a table was made of, if they are the same ones."""
    wanted = protocol.data
    assert wanted is not None
    for images in found:
        if len(images) >= wanted.images:
            drawn = images if len(images) == wanted.images else sample(images, wanted.images, protocol.seed)
            if _same(drawn, wanted):
                yield drawn


def _same(images: Images, wanted: ImageSet) -> bool:
    """Whether images are those of a table; encoded ones, slow to hash, by their number and labels."""
    labels = hashlib.sha256(images.labels.numpy().data).hexdigest()[:16]
    if (len(images), labels) != (wanted.images, wanted.labels):
        return False
    return not isinstance(images.pixels, Tensor) or images.fingerprint == wanted.fingerprint


def find_stored(record: Record, ways: Ways, images: Images | None) -> dict[str, Images]:
    """Images that were read for shifts, by label: domains of the data, and folders that the command names."""
    wanted = record.results.protocol.stored
    found: dict[str, Images] = {}
    whole = images or next(_candidates(record, ways), None) if wanted else None
    if whole is not None and whole.domain is not None:
        for number, domain in enumerate(whole.domains or ()):
            found[domain] = whole.subset((whole.domain == number).nonzero()[:, 0])
    folders = [word for word in _words(record.results.protocol.command) if "/" in word and Path(word).exists()]
    for folder in folders if wanted.keys() - found.keys() else ():
        with suppress(*READ_ERRORS):
            shown = read_shifts(folder, classes=whole.classes if whole else (), size=record.config.get("size"))
            found |= {label(each.name, each.severity): each.images for each in shown}
    return {name: each for name, each in found.items() if name in wanted and len(each)}


def _words(command: str) -> list[str]:
    with suppress(ValueError):
        return shlex.split(command)
    return command.split()
