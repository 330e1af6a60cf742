"""Example images of every view and every shift that a table has, as strips that a page carries inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data import VIEWS, Images, Origin, View, in_order, read_again, sample
from renorm.evaluate import ImageSet, label
from renorm.extras import require
from renorm.report.grid import family_of, ordered
from renorm.report.record import Record
from renorm.report.section import Gallery, Picture, Section, Text
from renorm.shifts import is_attack, make_shifts, read_shifts

NUM, SIDE, TINY = 6, 96, 64  # images of a view; pixels of the larger side; of images whose pixels are to be seen
QUALITY, TINY_QUALITY = 75, 90  # of JPEG
NOTE = (
    "The views that branches are trained on, of the same test images, and one image under each shift of the table, in the "
    "severities that it has."
)
READ_ERRORS = (OSError, ValueError, ImportError)


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


def examples(record: Record, views: Callable[[Images], Views]) -> Section:
    """Images of all that a table has, or why there are none.

    Args:
        record: A run and its table.
        views: Gives the views of images.

    Raises:
        ValueError: If the images at ``record.data`` are not those of the table.
        FileNotFoundError: If there is nothing.
    """
    found, missing = illustrate(record, views)
    families = dict.fromkeys(strip.family for strip in found)
    body = [Gallery(f or "views", [strip.picture() for strip in found if strip.family == f]) for f in families]
    remark = [Text(missing)] if missing else []
    return Section("What the images look like", NOTE if found else "", [*body, *remark])


def illustrate(record: Record, views: Callable[[Images], Views]) -> tuple[list[Strip], str]:
    """Strips of all that a table has, and what is missing and why."""
    protocol = record.results.protocol
    if not protocol.known:
        return [], "The table does not say what images it was made of, so there are no examples. Evaluate again."
    images = find_images(record)
    stored = find_stored(record)
    texts = []
    if images is None and protocol.data is not None:
        texts.append(
            f"The {protocol.data.images:,} images of {protocol.data.name} that the table was made of are not where they were, "
            "or have changed, or the table does not say where they are. Say it: renorm report --data."
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


def find_images(record: Record) -> Images | None:
    """The images that a table was made of, in its order, if they are still where it says, or where they are now.

    Raises:
        ValueError: If those at ``record.data`` are others.
        FileNotFoundError: If there is nothing.
    """
    wanted = record.results.protocol.data
    if wanted is None:
        return None
    if record.data is None:
        with suppress(*READ_ERRORS):
            return _checked(record, wanted)
        return None
    found = _checked(record, wanted)
    if found is None:
        raise ValueError(
            f"the images in {record.data} are not the {wanted.images} of {wanted.name} that the table of "
            f"{record.name} was made of: the same ones in the same order are needed. Name the folder or file that it was "
            "evaluated on."
        )
    return found


def _checked(record: Record, wanted: ImageSet) -> Images | None:
    """The images as the table read them, none if they are others; of an older table, which does not say, those given."""
    origin = wanted.origin
    if origin is None and record.data is not None:
        origin = Origin(record.data, split="test", size=record.config.get("size"))
    if origin is None:
        return None
    images = in_order(read_again(origin, record.data), record.about.get("classes", ()))
    if len(images) > wanted.images:
        images = sample(images, wanted.images, record.results.protocol.seed)
    return images if _same(images, wanted) else None


def _same(images: Images, wanted: ImageSet) -> bool:
    """Whether images are those of a table; encoded ones, slow to hash, by their number and labels."""
    if (len(images), ImageSet.of(images, read=False).labels) != (wanted.images, wanted.labels):
        return False
    return not isinstance(images.pixels, Tensor) or images.fingerprint == wanted.fingerprint


def find_stored(record: Record) -> dict[str, Images]:
    """Images that were read for shifts, by label, as far as they are still there."""
    found: dict[str, Images] = {}
    for name, wanted in record.results.protocol.stored.items():
        with suppress(*READ_ERRORS):
            if name not in found and wanted.origin is not None:
                found |= _read_again(name, wanted.origin, record)
    return {name: each for name, each in found.items() if name in record.results.protocol.stored and len(each)}


def _read_again(name: str, origin: Origin, record: Record) -> dict[str, Images]:
    """A domain of some images; or all shifts of a folder, which has no split."""
    if origin.split:
        return {name: read_again(origin)}
    number, seed = origin.drawn or (0, 0)
    classes = record.about.get("classes", ())
    read = read_shifts(Path(origin.path), classes=classes, size=origin.size, num_images=number, seed=seed)
    return {label(each.name, each.severity): each.images for each in read}
