"""How a model wants its input: which part of an image, at what size, by what it is normalized."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from renorm.data.frame import CROPPED, Frame

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Channels = tuple[float, float, float]


@dataclass(frozen=True)
class Preprocessing:
    """What becomes of images before a model sees them.

    Args:
        frame: What is shown of an image; None leaves it as it is.
        mean: Per channel, subtracted, in units of 0 to 1.
        std: Per channel, divided by.
        source: Who says so.

    Raises:
        ValueError: Mean and standard deviation are of no images in 0 to 1.
    """

    frame: Frame | None = None
    mean: Channels = IMAGENET_MEAN
    std: Channels = IMAGENET_STD
    source: str = ""

    def __post_init__(self) -> None:
        if not all(0 <= mean <= 1 for mean in self.mean) or not all(0 < std <= 1 for std in self.std):
            raise ValueError(
                f"mean {_listed(self.mean)} and std {_listed(self.std)} were given to normalize by: numbers of images from 0, "
                "black, to 1, white, are needed, and no deviation of 0. Divide those of images up to 255 by 255."
            )

    def __str__(self) -> str:
        parts = [] if self.frame is None else [str(self.frame)]
        parts += [f"mean {_listed(self.mean)} std {_listed(self.std)}", f"from {self.source}" if self.source else ""]
        return ", ".join(filter(None, parts))


def preprocessing_of(like: Any) -> Preprocessing:
    """What a model, or something that describes one, says of its input.

    Args:
        like: a model of timm, perhaps split, wrapped or compiled; the transforms that torchvision gives with its weights
            (``ResNet18_Weights.DEFAULT.transforms()``); or a :class:`Preprocessing`.

    Raises:
        ValueError: it says nothing, or what cannot be done to RGB images.

    Example:
        >>> import timm
        >>> print(preprocessing_of(timm.create_model("tf_efficientnet_lite0")))
        224 px, crop 0.875, bicubic, mean 0.5 std 0.5, from timm's config
    """
    if isinstance(like, Preprocessing):
        return like
    config = config_of(like)
    if config:
        return _of_timm(config)
    if hasattr(like, "crop_size") and hasattr(like, "resize_size"):
        return _of_torchvision(like)
    raise ValueError(
        f"{type(like).__name__} does not say how its input is made: timm's models do (pretrained_cfg), others need it said. "
        "Give torchvision's transforms, as ResNet18_Weights.DEFAULT.transforms(), or renorm.data.Preprocessing(frame, mean, std)."
    )


def config_of(model: Any) -> Mapping[str, Any]:
    """Timm's description of a model's weights, or nothing."""
    inner = getattr(model, "module", model)  # of DDP and of averages
    config = getattr(inner, "pretrained_cfg", None)
    return config if isinstance(config, Mapping) else {}


def _of_timm(config: Mapping[str, Any]) -> Preprocessing:
    # The defaults are timm's own, of resolve_data_config; a description by hand may leave the size open.
    channels, height, width = config.get("input_size", (3, None, None))
    mode = config.get("crop_mode") or "center"
    if channels != 3 or mode not in ("center", "squash"):
        raise ValueError(
            f"the model's config asks for {channels} channels and the crop mode {mode!r}: images are RGB, and center and squash "
            "are known. Give a renorm.data.Preprocessing that says what to do."
        )
    crop, kind = config.get("crop_pct") or CROPPED, config.get("interpolation") or "bicubic"
    frame = None if height is None else Frame((width, height), crop, kind, squash=mode == "squash")
    mean, std = config.get("mean", IMAGENET_MEAN), config.get("std", IMAGENET_STD)
    source = "timm's config" if "architecture" in config else "the model's pretrained_cfg"
    return Preprocessing(frame, three(mean), three(std), source)


def _of_torchvision(transforms: Any) -> Preprocessing:
    size, resized = (
        sides if isinstance(sides, int) else sides[0] for sides in (transforms.crop_size, transforms.resize_size)
    )
    frame = Frame((size, size), size / resized, transforms.interpolation.value)
    return Preprocessing(frame, three(transforms.mean), three(transforms.std), "torchvision's weights")


def three(values: Sequence[float]) -> Channels:
    """Numbers of the three channels."""
    red, green, blue = map(float, values)
    return red, green, blue


def _listed(values: Sequence[float]) -> str:
    """Numbers, one if all are the same."""
    return " ".join(f"{value:g}" for value in (values[:1] if len(set(values)) == 1 else values))
