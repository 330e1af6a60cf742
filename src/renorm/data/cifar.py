"""CIFAR-10 and CIFAR-100 from the archives that torchvision knows.

They hold pickles, so nothing of them is read before its checksum is right: the archive's, and each file's own. What is
then read can be arrays, lists, texts and numbers only.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import pickle
import tarfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from renorm.data.decode import Blobs, prepare
from renorm.data.images import Images
from renorm.data.splits import choose
from renorm.extras import require
from renorm.files import write_atomically

HOME = "RENORM_DATA_HOME"
SIDE = 32  # pixels
SECONDS = 60  # without an answer until a download is given up

Triple = tuple[float, float, float]
STATISTICS: dict[str, tuple[Triple, Triple]] = {  # mean and standard deviation of the training pixels
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
CIFAR = tuple(STATISTICS)


def data_home() -> Path:
    """Where archives are kept: the folder that RENORM_DATA_HOME names, else ``~/.cache/renorm``."""
    return Path(os.environ.get(HOME) or Path.home() / ".cache" / "renorm")


def load_cifar(
    name: str, split: str, *, size: int | None = None, root: str | Path | None = None, download: bool = False
) -> Images:
    """CIFAR-10 or CIFAR-100: 50,000 images to train on and 10,000 to test, 32 x 32, of 10 or 100 classes.

    Args:
        name: ``"cifar10"`` or ``"cifar100"``.
        split: ``"train"`` or ``"test"``.
        size: side in pixels to scale all images to.
        root: folder of the archive, or of the folder that torchvision extracts it to; :func:`data_home` unless given.
        download: whether to fetch the archive if it is not there, or damaged.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: its checksum is wrong, or there is no such split.
        OSError: it cannot be fetched.

    Reference: Krizhevsky, *Learning Multiple Layers of Features from Tiny Images*, 2009.
    """
    choose(name, split, ["train", "test"], holdout=0)
    published = getattr(require("torchvision.datasets"), name.upper())
    listed = dict(published.train_list if split == "train" else published.test_list)
    listed[published.meta["filename"]] = published.meta["md5"]
    *batches, meta = read(published, listed, Path(root or data_home()), download)
    labels = torch.tensor([label for batch in batches for label in batch.get("labels", batch.get("fine_labels"))])
    pixels = torch.from_numpy(np.concatenate([batch["data"] for batch in batches])).view(-1, 3, SIDE, SIDE)
    mean, std = STATISTICS[name]
    scaled = pixels if size in (None, SIDE) else prepare(Pixels(name, pixels), size, torch.arange(len(pixels)))
    return Images(name, scaled, labels, list(meta[published.meta["key"]]), mean=mean, std=std)


def read(published: Any, files: dict[str, str], root: Path, download: bool) -> list[Any]:
    """What files of a data set hold, from the extracted folder if they are all in it, else from the archive.

    Args:
        published: torchvision's class, which knows names and checksums.
        files: name and checksum of each file.
        root: folder of the archive.
        download: whether to fetch it.
    """
    folder = root / published.base_folder
    contents = [path.read_bytes() if path.is_file() else b"" for path in (folder / file for file in files)]
    if all(checksum(content) == md5 for content, md5 in zip(contents, files.values(), strict=True)):
        return [unpickle(content) for content in contents]
    archive = io.BytesIO(read_archive(published, root, download))
    with tarfile.open(fileobj=archive, mode="r:gz") as opened:
        members = [opened.extractfile(f"{published.base_folder}/{file}") for file in files]
        contents = [member.read() if member else b"" for member in members]
    for (file, md5), content in zip(files.items(), contents, strict=True):
        if checksum(content) != md5:
            raise damaged(f"{file} in {root / published.filename}", content, md5)
    return [unpickle(content) for content in contents]


def read_archive(published: Any, root: Path, download: bool) -> bytes:
    """The bytes of the archive, whose checksum is right."""
    path = root / published.filename
    content = path.read_bytes() if path.is_file() else None
    if content is not None and checksum(content) == published.tgz_md5:
        return content
    if download:
        return fetch(published, path)
    if content is not None:
        raise damaged(str(path), content, published.tgz_md5)
    raise FileNotFoundError(
        f"there is no {published.filename} in {root}, nor all files of the folder {published.base_folder} as they were "
        f"published: one of them is needed. Fetch it with --download (in Python download=True), copy it there, or name "
        f"another folder by {HOME}."
    )


def fetch(published: Any, path: Path) -> bytes:
    """Download the archive; it gets its name only when it is whole.

    Raises:
        OSError: there is no connection, or it broke.
        ValueError: what came is not the archive.
    """
    request = urllib.request.Request(published.url, headers={"User-Agent": "renorm"})
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            content = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise OSError(
            f"{published.url} could not be fetched ({type(error).__name__}: {error}): a connection to it is needed. "
            f"Try again, or download it elsewhere and copy it to {path}."
        ) from error
    if checksum(content) != published.tgz_md5:
        raise damaged(f"what came from {published.url}", content, published.tgz_md5)
    write_atomically(path, content)
    return content


def checksum(content: bytes) -> str:
    """MD5, which is what is published; with it nobody can make another file that passes for a given one."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def damaged(what: str, content: bytes, md5: str) -> ValueError:
    return ValueError(
        f"{what} is not as published: its {len(content):,} bytes have the MD5 {checksum(content)}, and {md5} is needed. "
        "Nothing of it was used. Fetch it again with --download (in Python download=True), or remove it."
    )


KNOWN: dict[tuple[str, str], Any] = {  # what a pickle of arrays names, by the module's name when it was written
    ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
}


class ArraysOnly(pickle.Unpickler):
    """Makes arrays beside Python's own containers, texts and numbers, and calls nothing else."""

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for."""
        if (module, name) not in KNOWN:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of a CIFAR file. Only arrays and lists are read.")
        return KNOWN[module, name]


def unpickle(content: bytes) -> Any:
    """The value of a pickle that Python 2 wrote."""
    return ArraysOnly(io.BytesIO(content), encoding="latin1").load()


@dataclass(frozen=True)
class Pixels(Blobs):
    """Decoded images as files without compression, for what scales files."""

    source: str
    pixels: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    def read(self, i: int) -> bytes:
        height, width = self.pixels.shape[-2:]
        return b"P6 %d %d 255\n" % (width, height) + self.pixels[i].permute(1, 2, 0).contiguous().numpy().tobytes()

    def name(self, i: int) -> str:
        return f"image {i} of {self.source}"
