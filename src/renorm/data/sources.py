"""Which reader a name or a path is for, and which splits it has."""

from __future__ import annotations

from pathlib import Path

from renorm.data.arrays import array_files, load_arrays
from renorm.data.cifar import CIFAR, load_cifar
from renorm.data.digits import load_digits
from renorm.data.folder import load_folder
from renorm.data.folder import parts_of as folders_of
from renorm.data.frame import Frame
from renorm.data.images import Images
from renorm.data.listing import REMEDIES, has_images
from renorm.data.parquet import load_parquet, parquet_files
from renorm.data.parquet import parts_of as parquet_parts
from renorm.data.splits import TRAIN_AND_TEST
from renorm.data.tiny_imagenet import SPLITS, is_tiny_imagenet, load_tiny_imagenet

NAMED = ("digits", *CIFAR)
SAVED = ("dataset_dict.json", "state.json")  # of datasets.save_to_disk


def splits_of(name: str | Path) -> list[str]:
    """The splits that data have, by the names of their parts; none where they are one whole.

    Raises:
        ValueError: it cannot be told.

    Example:
        >>> splits_of("digits")
        ['train', 'test']
    """
    if name in NAMED:
        return list(TRAIN_AND_TEST)
    path = Path(name)
    if not path.is_dir() or array_files(path):
        return []
    if is_tiny_imagenet(path):
        return list(SPLITS)
    return sorted({*(parquet_parts(path) if parquet_files(path) else folders_of(path)).values()})


def evaluation_split(name: str | Path) -> str | None:
    """The split to evaluate on: ``test`` of data that are divided, all of others."""
    return "test" if splits_of(name) else None


def read_named(name: str, split: str | None, frame: Frame | None, root: str | Path | None, download: bool) -> Images:
    """The images of a data set that has a name."""
    if name in CIFAR:
        return load_cifar(name, split, root=root, download=download)
    return load_digits(split, None if frame is None else frame.size[0])


def read_at(path: Path, split: str | None, holdout: float, labels: bool) -> Images:
    """The images at a path, by whichever reader knows what is there.

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is nothing that is read.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"there is nothing at {path}. {', '.join(map(repr, NAMED))}, a folder of images, or a Parquet file or folder "
            "is needed. Check the path."
        )
    if path.suffix == ".npy" or (path.is_dir() and array_files(path)):
        return load_arrays(path, split, holdout=holdout)
    if path.is_file() and path.suffix != ".parquet":
        remedy = REMEDIES.get(path.suffix.lower())
        raise ValueError(
            f"{path} is neither a folder nor a .parquet file. "
            f"Give the folder that holds the images, or save them as Parquet{f' ({remedy})' if remedy else ''}."
        )
    saved = next((name for name in SAVED if (path / name).is_file()), None)
    if saved:
        raise ValueError(
            f"{path} is what save_to_disk of datasets writes (it has {saved}). Parquet is needed: datasets.load_from_disk(FOLDER)"
            f"{'[SPLIT]' if saved == SAVED[0] else ''}.to_parquet('train.parquet')."
        )
    if is_tiny_imagenet(path):
        return load_tiny_imagenet(path, split, holdout=holdout)
    tables = parquet_files(path)
    if tables and path.is_dir() and has_images(path):
        raise ValueError(
            f"{path} has Parquet files ({tables[0].name}, ...) and image files: one of both is needed. Give a folder of one "
            f"kind, or a Parquet file itself, as {tables[0]}."
        )
    return (load_parquet if tables else load_folder)(path, split, holdout=holdout, labels=labels)
