"""Folders of image files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

import torch
from torch import Tensor

from renorm.data.blobs import Files
from renorm.data.decode import undecoded
from renorm.data.formats import KINDS
from renorm.data.images import Images
from renorm.data.listing import counted, few, has_images, loose, subfolders, walk
from renorm.data.origin import Origin
from renorm.data.splits import check_whole, choose, indices_of, kind_of, kinds_of_folders
from renorm.notice import notice
from renorm.progress import told


@dataclass(frozen=True)
class SplitFolder:
    """Where the images of a split are.

    Args:
        root: Their folder.
        roots: Those of all splits, whose classes are counted together.
        divided: Whether the data have splits.
    """

    root: Path
    roots: Sequence[Path]
    divided: bool


def load_folder(folder: Path, split: str | None, *, holdout: float = 0.0, labels: bool = True) -> Images:
    """Image files in one folder per class, or all in one folder without labels.

    Folders called ``train``, ``test`` and the like above the classes are the splits; the classes are those of all
    splits together, so that indices agree. Without such folders there is one whole, which ``holdout`` divides.
    """
    place = place_of(folder, split, holdout)
    left_out: Counter[str] = Counter()
    names = list(told(walk(place.root, left_out), f"listing {place.root}"))
    _check_some(place.root, names, left_out)
    classes, numbers = _labelled(place, names) if labels else ([], torch.full((len(names),), -1))
    if left_out:
        notice(
            f"{place.root} has {sum(left_out.values()):,} files that are no images and were left out: {counted(left_out)}."
        )
    indices = indices_of(numbers, split, 0.0 if place.divided else holdout)
    pixels = undecoded(Files(str(place.root), names), indices)
    chosen = [names[i] for i in indices.tolist()]
    files = [name.partition("/")[2] for name in chosen] if classes else chosen
    origin = Origin("", labels="folders" if classes else "")
    return Images(str(place.root), pixels, numbers[indices], classes, files=files, origin=origin)


def place_of(folder: Path, split: str | None, holdout: float) -> SplitFolder:
    """Where the images of a split are, perhaps a folder further down.

    Raises:
        ValueError: there is no such split, or it cannot be told.
    """
    parts = parts_of(folder)
    chosen = choose(str(folder), split, parts, holdout)
    if not chosen:
        check_whole(str(folder), kind_of(folder.resolve().name), split, holdout)
        root = inner(folder)
        return SplitFolder(root, [root], divided=False)
    if len(chosen) > 1:
        raise ValueError(
            f"{folder} has several folders for {split or 'train'}: {', '.join(chosen)}. One is needed. Name it, or "
            "load it itself."
        )
    roots = {name: _unwrapped(inner(folder) / name) for name in parts}
    return SplitFolder(roots[chosen[0]], list(roots.values()), divided=True)


def inner(folder: Path) -> Path:
    """The folder itself or, where it holds nothing but one folder of folders, as archives do, that one."""
    while True:
        below = [each for each in subfolders(folder) if has_images(each)]
        if len(below) != 1 or kind_of(below[0].name) or loose(folder) or loose(below[0]):
            return folder
        folder = below[0]


def _unwrapped(folder: Path) -> Path:
    """A split's folder or, where it holds nothing but one called after the same split, that one."""
    below = subfolders(folder)
    again = len(below) == 1 and kind_of(below[0].name) == kind_of(folder.name) is not None
    return below[0] if again and not loose(folder) else folder


def parts_of(folder: Path) -> dict[str, str]:
    """The folders that are splits of the data in a folder, and which; none where the data are one whole.

    Raises:
        ValueError: it cannot be told whether a folder is a split or a class.
    """
    names = [each.name for each in subfolders(inner(folder)) if has_images(each)]
    kinds = kinds_of_folders(names)
    others = [name for name in names if name not in kinds]
    if kinds and others and len({*kinds.values()}) < 2:
        raise ValueError(
            f"{folder} has a folder {next(iter(kinds))} beside {', '.join(others[:3])}: it may be a split or a class. Classes "
            "alone, or splits alone, are needed. Put all classes into a folder called after a split, as test, or move the others."
        )
    return {name: kinds.get(name, name) for name in names} if kinds else {}


def _labelled(place: SplitFolder, names: list[str]) -> tuple[list[str], Tensor]:
    """The classes, and the number of each image's; no classes where all lie in one folder."""
    beside = [name for name in names if "/" not in name]
    if beside and len(beside) < len(names):
        raise ValueError(
            f"{place.root} has {len(names) - len(beside)} images in subfolders and {len(beside)} beside them ({beside[0]}, ...). "
            "One folder per class, or one folder without subfolders, is needed. Move the loose images, or take none for labels: "
            "labels=False, in the shell --no-labels."
        )
    if beside:
        return [], torch.full((len(names),), -1)
    classes = sorted({normalize("NFC", each.name) for root in place.roots for each in subfolders(root)})
    number = {name: i for i, name in enumerate(classes)}
    numbers = torch.tensor([number[normalize("NFC", name.partition("/")[0])] for name in names])
    _tell_deeper(place.root, names)
    _check_filled(place.root, {normalize("NFC", name.partition("/")[0]) for name in names})
    return classes, numbers


def _tell_deeper(root: Path, names: Sequence[str]) -> None:
    """Tell which folders are taken for classes where the folders in all of them have the same names, and may be meant."""
    below: dict[str, set[str]] = {}
    for name in names:
        first, *rest = name.split("/")
        below.setdefault(first, set()).add(rest[0] if len(rest) > 1 else "")
    common = set.intersection(*below.values())
    if len(below) > 1 and len(common) > 1 and "" not in set.union(*below.values()):
        upper = sorted(below)
        notice(
            f"{root}: {few(upper)} are taken for the classes, not the folders in each of them ({few(sorted(common))}). If those "
            f"are the classes, load one of the upper ones, as {root / upper[0]}, or call them train and test."
        )


def _check_some(root: Path, names: list[str], left_out: Counter[str]) -> None:
    if not names:
        holds = f"; it holds {counted(left_out)}" if left_out else ""
        raise ValueError(
            f"{root} has no images{holds}. {KINDS}, best in one subfolder per class, are needed. Check the path."
        )


def _check_filled(root: Path, filled: set[str]) -> None:
    """Refuse a folder of a class without an image: the class would be there, and never seen."""
    empty = [each for each in subfolders(root) if normalize("NFC", each.name) not in filled]
    if empty:
        left_out: Counter[str] = Counter()
        list(walk(empty[0], left_out))
        holds = f" but {counted(left_out)}" if left_out else ""
        raise ValueError(
            f"{root} has {len(empty)} folders without an image, as {empty[0].name} (nothing{holds}): each subfolder is a class, "
            "and needs one. Convert what it holds, or move the folder elsewhere."
        )
