"""The images that a configuration names: those to train on, and those to validate on."""

from typing import Any

from renorm.data import CIFAR, Images, evaluation_split, in_order, load, splits_of
from renorm.recipes.classify.config import Config
from renorm.recipes.classify.domains import resolved, trained_on

HOLDOUT = 0.2  # share of a source without splits that is not trained on


def tested_on(images: Images, test: Images) -> Images:
    """Images to validate on, with labels that count the classes of those that are trained on.

    Raises:
        ValueError: If they have other classes or no labels, or are of another size.
    """
    sizes = [tuple(each[0][0].shape[1:]) for each in (images, test)]
    if sizes[0] != sizes[1]:
        shown = [f"{height} x {width}" for height, width in sizes]
        raise ValueError(
            f"{test.name} has images of {shown[1]} pixels and {images.name}, which is trained on, of {shown[0]}: both must be "
            f"the same. Add --size {sizes[0][0]}."
        )
    if not test.classes or int(test.labels.min()) < 0:
        raise ValueError(
            f"{test.name} has no labels: validation needs a class for every image. Name other images by --test, or leave it out."
        )
    return in_order(test, images.classes)


def read(config: Config) -> tuple[Images, Images]:
    """Images to train on and to test on, these of all domains; a source without splits of its own is divided."""
    train, test = _read(config)
    return trained_on(resolved(config, train), train), test


def _read(config: Config) -> tuple[Images, Images]:
    source, size = config.source, config.source.size
    divided = splits_of(source.data)
    options: Any = {"size": size, "skip_damaged": source.skip_damaged}
    if source.test is not None:
        download = source.download and source.test in CIFAR
        train = load(source.data, "train" if divided else None, **options, download=source.download)
        return train, load(source.test, evaluation_split(source.test), **options, download=download)
    options |= {"download": source.download, "holdout": 0.0 if divided else HOLDOUT}
    return load(source.data, "train", **options), load(source.data, "test", **options)
