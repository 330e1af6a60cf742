"""Example images of every view and every shift that a table has, as strips that a page carries inside."""

from __future__ import annotations

import base64
import hashlib
import io
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data import VIEWS, Images, in_order, load, sample
from renorm.evaluate import ImageSet, Protocol, label
from renorm.extras import require
from renorm.recipes import config_of
from renorm.recipes.classify.recipe import HOLDOUT
from renorm.report.grid import family_of, ordered
from renorm.report.records import Record
from renorm.shifts import is_attack, make_shifts

NUM, SIDE = 6, 96  # images of a view; pixels of the larger side
READ_ERRORS = (OSError, ValueError, ImportError)


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

    def to_uri(self) -> str:
        """As a PNG inside an address."""
        images = [_small(image) for image in self.pixels]
        gap = max(1, images[0].shape[2] // 24)
        whole = torch.cat([F.pad(image, (0, gap), value=255) for image in images], 2)[:, :, :-gap]
        buffer = io.BytesIO()
        require("PIL.Image").fromarray(whole.permute(1, 2, 0).contiguous().numpy()).save(buffer, "PNG", optimize=True)
        return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _small(image: Tensor) -> Tensor:
    """An image of at most so many pixels; small ones as they are. Shape: uint8 ``(3, H, W)``."""
    if max(image.shape[1:]) <= SIDE:
        return image
    size = [max(1, round(side * SIDE / max(image.shape[1:]))) for side in image.shape[1:]]
    return F.interpolate(image[None].float(), size, mode="area")[0].round().to(torch.uint8)


def illustrate(record: Record, data: str | None = None) -> tuple[list[Strip], str]:
    """Strips of all that a table has, and what is missing and why.

    Args:
        record: A run and its table.
        data: Where the images of the table are now, if not where it says.

    Raises:
        ValueError: If those are other images.
        FileNotFoundError: If there is nothing.
    """
    protocol = record.results.protocol
    if not protocol.known:
        return [], "The table does not say what images it was made of, so there are no examples. Evaluate again."
    images = find_images(record, data)
    stored = find_stored(record, images)
    texts = []
    if images is None and protocol.data is not None:
        texts.append(
            f"The {protocol.data.images:,} images of {protocol.data.name} that the table was made of are not where they were, "
            "or have changed. Say where they are: renorm report --data."
        )
    absent = [name for name in protocol.stored if name not in stored]
    if absent:
        texts.append(f"No longer found are the images of {', '.join(absent)}.")
    return strips(record, images, stored), " ".join(texts)


def strips(record: Record, images: Images | None, stored: Mapping[str, Images] | None = None) -> list[Strip]:
    """A strip of a few images for each view, and of one image in all its severities for each corruption.

    Args:
        record: A run and its table.
        images: Those the table was made of, in its order; None for strips of what was read only.
        stored: Images that were read for a shift, by its label.
    """
    stored, found = stored or {}, record.results.shifts
    made = [shift for shift in found if label(*shift) not in record.results.protocol.stored]
    pictured = [name for name in ordered(made) if not is_attack(name)]  # attacks look like the images
    names = list(dict.fromkeys([*VIEWS, *pictured])) if images is not None else []
    changed = [_changed(record, images, name, made) for name in names if images is not None]
    read = [_read(name, [s for s in found if s[0] == name], stored) for name in ordered(found)]
    order = ["", *dict.fromkeys(family_of(name) for name in ordered(found))]
    return sorted((strip for strip in (*changed, *read) if strip), key=lambda strip: order.index(strip.family))


def _changed(record: Record, images: Images, name: str, made: Sequence[tuple[str, int]]) -> Strip | None:
    protocol = record.results.protocol
    config = config_of(record.about).on(images.name)
    options: dict[str, Any] = {"scale": protocol.scale, "rounding": protocol.rounding or "8-bit"}
    wanted = [name] if name in VIEWS else [f"{name}:{severity}" for each, severity in sorted(made) if each == name]
    side = images[0][0].shape[-1]
    changes = make_shifts(wanted, lambda view: config.view(view, side), protocol.seed, **options)
    if name in VIEWS:
        indices = torch.linspace(0, len(images) - 1, min(NUM, len(images))).long()
        return Strip(name, "", (), _bytes(changes[0](images.batch(indices)[0], indices)))
    index = torch.zeros(1, dtype=torch.int64)
    pixels = [_bytes(change(images.batch(index)[0], index)) for change in changes]
    return Strip(name.replace("_", " "), family_of(name), tuple(str(c.severity) for c in changes), torch.cat(pixels))


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


def find_images(record: Record, given: str | None = None) -> Images | None:
    """The images that a table was made of, in its order, if they can still be read where it says or where they are now.

    Args:
        record: A run and its table.
        given: Where they are now.

    Raises:
        ValueError: If those given are others.
        FileNotFoundError: If there is nothing where they are said to be.
    """
    wanted = record.results.protocol.data
    if wanted is None:
        return None
    if given is not None:
        images = in_order(load(given, "test", size=_size(record)), record.about.get("classes", ()))
        found = next((each for each in _drawn([images], record.results.protocol) if each), None)
        if found is None:
            raise ValueError(
                f"the images in {given} are not the {wanted.images} of {wanted.name} that the table of {record.name} was made "
                "of: the same ones in the same order are needed. Name the folder or file that it was evaluated on."
            )
        return found
    return next((each for each in _drawn(_candidates(record), record.results.protocol) if each), None)


def _size(record: Record) -> int | None:
    return record.config.get("size")


def _candidates(record: Record) -> Iterator[Images]:
    """Images that may be the table's, as the commands would read them."""
    source, words = config_of(record.about).source, _words(record.results.protocol.command)
    named = [words[i + 1] for i, word in enumerate(words[:-1]) if word == "--data"]
    ways = [*((each, 0.0) for each in named), (source.test or source.data, 0.0), (source.data, HOLDOUT)]
    for name, holdout in dict.fromkeys(ways):
        with suppress(*READ_ERRORS):
            yield in_order(load(name, "test", size=_size(record), holdout=holdout), record.about.get("classes", ()))


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


def find_stored(record: Record, images: Images | None) -> dict[str, Images]:
    """Images that were read for shifts, by label: domains of the data, and folders that the command names."""
    from renorm.shifts import read_shifts

    wanted = record.results.protocol.stored
    found: dict[str, Images] = {}
    whole = images or next(_candidates(record), None) if wanted else None
    if whole is not None and whole.domain is not None:
        for number, domain in enumerate(whole.domains or ()):
            found[domain] = whole.subset((whole.domain == number).nonzero()[:, 0])
    folders = [word for word in _words(record.results.protocol.command) if "/" in word and Path(word).exists()]
    for folder in folders if wanted.keys() - found.keys() else ():
        with suppress(*READ_ERRORS):
            shown = read_shifts(folder, classes=whole.classes if whole else (), size=_size(record))
            found |= {label(each.name, each.severity): each.images for each in shown}
    return {name: each for name, each in found.items() if name in wanted and len(each)}


def _words(command: str) -> list[str]:
    with suppress(ValueError):
        return shlex.split(command)
    return command.split()
