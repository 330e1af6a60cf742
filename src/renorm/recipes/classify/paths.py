"""Paths in a configuration, so that a run finds its data from wherever it is opened."""

from dataclasses import replace
from pathlib import Path

from renorm.data import CIFAR
from renorm.models import is_code, whole
from renorm.recipes.classify.config import PRETRAINED, Config


def located(config: Config) -> Config:
    """The configuration with whole paths of its data and weights; links are not followed, as they may name the data."""
    source, network = config.source, config.network
    data, test, weights = (_whole(name) for name in (source.data, source.test, network.weights))
    model = whole(network.model) if is_code(network.model) else network.model
    return replace(
        config,
        source=replace(source, data=data or source.data, test=test),
        network=replace(network, model=model, weights=weights),
        augmentation=replace(config.augmentation, stylized=_whole(config.augmentation.stylized)),
    )


def typed(config: Config, whole: Config) -> dict[str, str]:
    """Options whose paths were typed otherwise, as they were."""
    pairs = {
        "data": (config.source.data, whole.source.data),
        "test": (config.source.test, whole.source.test),
        "model": (config.network.model, whole.network.model),
        "weights": (config.network.weights, whole.network.weights),
        "stylized": (config.augmentation.stylized, whole.augmentation.stylized),
    }
    return {name: given for name, (given, found) in pairs.items() if given is not None and given != found}


def _whole(name: str | None) -> str | None:
    """The whole path of what is there; a name stays, and a path at which there is nothing, which is refused where it is read."""
    if name is None or name in ("digits", *CIFAR, PRETRAINED) or not Path(name).exists():
        return name
    return str(Path(name).absolute())
