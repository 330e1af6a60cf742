"""CIFAR-10 and CIFAR-100 by torchvision, which reads nothing before its published checksum is right."""

from __future__ import annotations

import http.client
import os
import urllib.error
import warnings
from pathlib import Path
from typing import Any

import torch

from renorm.data.images import Images
from renorm.data.preprocessing import Channels
from renorm.data.splits import TRAIN_AND_TEST, choose
from renorm.extras import require

HOME = "RENORM_DATA_HOME"

STATISTICS: dict[str, tuple[Channels, Channels]] = {  # mean and standard deviation of the training pixels
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
CIFAR = tuple(STATISTICS)


def data_home() -> Path:
    """Where archives are kept: the folder that RENORM_DATA_HOME names, else ``~/.cache/renorm``."""
    return Path(os.environ.get(HOME) or Path.home() / ".cache" / "renorm")


def load_cifar(name: str, split: str | None, *, root: str | Path | None = None, download: bool = False) -> Images:
    """CIFAR-10 or CIFAR-100: 50,000 images to train on and 10,000 to test, 32 x 32, of 10 or 100 classes.

    Args:
        name: ``"cifar10"`` or ``"cifar100"``.
        split: ``"train"`` or ``"test"``.
        root: folder of the archive, which is extracted beside it, or of the extracted folder; :func:`data_home` unless given.
        download: whether to fetch the archive if it is not there, or damaged.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: its checksum is wrong, or there is no such split.
        OSError: it cannot be fetched.

    Reference: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
    """
    (part,) = choose(name, split, TRAIN_AND_TEST, holdout=0)
    published = read(getattr(require("torchvision.datasets"), name.upper()), part, Path(root or data_home()), download)
    pixels = torch.from_numpy(published.data).permute(0, 3, 1, 2).contiguous()
    mean, std = STATISTICS[name]
    return Images(name, pixels, torch.tensor(published.targets), list(published.classes), mean=mean, std=std)


def read(kind: Any, split: str, root: Path, download: bool) -> Any:
    """Torchvision's data set: of the extracted folder if it is whole, else of the archive, there or fetched.

    Args:
        kind: torchvision's class.
        split: ``"train"`` or ``"test"``.
        root: folder of the archive.
        download: whether to fetch it.
    """
    archive = root / kind.filename
    try:
        return of_torchvision(kind, split, root, extract=False)
    except RuntimeError as error:
        if not download and not archive.exists():
            raise FileNotFoundError(
                f"there is no {archive.name} in {root}, nor all files of the folder {kind.base_folder} as they were "
                "published: one of them is needed. Fetch it with --download (in Python download=True), copy it there, or "
                f"name another folder by {HOME}."
            ) from error
        if not download and not require("torchvision.datasets.utils").check_integrity(archive, kind.tgz_md5):
            raise damaged(archive) from error
    try:
        return of_torchvision(kind, split, root, extract=True)
    except RuntimeError as error:
        raise damaged(archive) from error
    except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
        raise OSError(
            f"{kind.url} could not be fetched ({type(error).__name__}: {error}): a connection to it is needed. "
            f"Try again, or download it elsewhere and copy it to {archive}."
        ) from error


def of_torchvision(kind: Any, split: str, root: Path, extract: bool) -> Any:
    """Torchvision's data set, which unpickles a file only after its checksum.

    Raises:
        RuntimeError: a file is missing, or its checksum is wrong.
    """
    with warnings.catch_warnings():
        # The files name a module that numpy 2 has moved.
        warnings.simplefilter("ignore", DeprecationWarning)
        return kind(str(root), train=split == "train", download=extract)


def damaged(archive: Path) -> ValueError:
    return ValueError(
        f"{archive}, or what was extracted from it, is not as published: its MD5 is another one. Nothing of it was used. "
        "Remove it, and fetch it again with --download (in Python download=True)."
    )
