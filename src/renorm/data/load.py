"""Data sets by name or path."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from renorm.data.cifar import CIFAR, load_cifar
from renorm.data.digits import load_digits
from renorm.data.folder import load_folder
from renorm.data.images import Images, sample
from renorm.data.origin import Origin
from renorm.data.parquet import load_parquet, parquet_files
from renorm.data.tiny_imagenet import is_tiny_imagenet, load_tiny_imagenet

NAMED = ("digits", *CIFAR)


def load(
    name: str | Path,
    split: str = "train",
    *,
    size: int | None = None,
    holdout: float = 0.0,
    root: str | Path | None = None,
    download: bool = False,
) -> Images:
    """Load images with their labels.

    Small images (sides of at most 96 pixels) keep the size of the first and are decoded once; larger ones are decoded
    when asked for, scaled so that they cover a square of 256 pixels and cut to the 224 in its center. An image that has
    its size already is not scaled.

    Args:
        name: ``"digits"``, ``"cifar10"``, ``"cifar100"``, a folder of images (one subfolder per class, or none), a
            Parquet file or a folder of them in the Hugging Face layout, or Tiny-ImageNet as it is distributed. Nothing
            is unpickled but the files of CIFAR, and these only after their checksums are found to be the published ones.
        split: ``"train"``, ``"test"``, or the name of a subfolder or file of the data. Data without splits are
            every split.
        size: side in pixels to scale and cut all images to.
        holdout: share of data without splits that is their ``"test"`` split; their ``"train"`` split is the rest. The
            division is stratified and the same in every run.
        root: folder of CIFAR's archives; unless given, the one that the environment variable RENORM_DATA_HOME names,
            else ``~/.cache/renorm``.
        download: whether to fetch an archive of CIFAR that is not there, or is damaged.

    Raises:
        FileNotFoundError: there is no such path or archive.
        ValueError: there are no images, or no such split, or a file cannot be read.
        ImportError: a library that the data need is missing.

    Example:
        >>> load("digits", split="test")
        Images('digits': 450 of 16 x 16, 10 classes)
    """
    if size is not None and size < 1:
        raise ValueError(f"size={size} is no side in pixels. At least 1 is needed. Leave it out to keep small images.")
    if name in NAMED and holdout:
        raise ValueError(
            f"{name} has its splits, train and test, and holdout={holdout} would divide them again. "
            "Only data without splits can be divided. Leave holdout out."
        )
    read = _read(name, split, size=size, holdout=holdout, root=root, download=download)
    path = "" if name in NAMED else str(Path(name).resolve())
    return replace(read, origin=Origin(str(name), path, split, size, holdout))


def read_again(origin: Origin, path: str | Path | None = None) -> Images:
    """The images that were read before; their fingerprint tells whether they are still the same.

    Args:
        origin: How they were read.
        path: Where they are now, if not where they were.

    Raises:
        FileNotFoundError: They are not there.
        ValueError: There are fewer, or no such domain.
    """
    images = load(path or origin.path or origin.given, origin.split, size=origin.size, holdout=origin.holdout)
    images = images if origin.drawn is None else sample(images, *origin.drawn)
    return images if not origin.domain else images.of_domain(origin.domain)


def _read(
    name: str | Path, split: str, *, size: int | None, holdout: float, root: str | Path | None, download: bool
) -> Images:
    if name in CIFAR:
        return load_cifar(str(name), split, size=size, root=root, download=download)
    if download or root is not None:
        raise ValueError(
            f"{'download' if download else 'root'} for {name}: only {' and '.join(CIFAR)} have an archive that is "
            "fetched and kept. Leave it out."
        )
    if name == "digits":
        return load_digits(split, size)
    path = Path(name)
    if not path.exists():
        raise FileNotFoundError(
            f"there is nothing at {path}. {', '.join(map(repr, NAMED))}, a folder of images, or a Parquet file or folder "
            "is needed. "
            "Check the path."
        )
    if path.is_file() and path.suffix != ".parquet":
        raise ValueError(
            f"{path} is neither a folder nor a .parquet file. "
            "Give the folder that holds the images, or save them as Parquet."
        )
    if is_tiny_imagenet(path):
        return load_tiny_imagenet(path, split, size=size, holdout=holdout)
    reader = load_parquet if path.is_file() or parquet_files(path) else load_folder
    return reader(path, split, size=size, holdout=holdout)
