"""How much of each operation a level of a policy is."""

from __future__ import annotations

from collections.abc import Mapping

from renorm.data.operations import SIGNED

Operation = tuple[str, float]  # an operation and its magnitude


def magnitudes(level: float, width: int, height: int) -> dict[str, float]:
    """Magnitudes of RandAugment's and AutoAugment's operations at a level of 0 to 1."""
    return {
        "Identity": 0,
        "ShearX": 0.3 * level,
        "ShearY": 0.3 * level,
        "TranslateX": 150 / 331 * width * level,
        "TranslateY": 150 / 331 * height * level,
        "Rotate": 30 * level,
        "Brightness": 0.9 * level,
        "Color": 0.9 * level,
        "Contrast": 0.9 * level,
        "Sharpness": 0.9 * level,
        "Posterize": 8 - round(4 * level),
        "Solarize": 255 * (1 - level),
        "AutoContrast": 0,
        "Equalize": 0,
    }


def wide_magnitudes(level: float) -> dict[str, float]:
    """Magnitudes of TrivialAugment's operations at a level of 0 to 1."""
    return {
        "Identity": 0,
        "ShearX": 0.99 * level,
        "ShearY": 0.99 * level,
        "TranslateX": 32 * level,
        "TranslateY": 32 * level,
        "Rotate": 135 * level,
        "Brightness": 0.99 * level,
        "Color": 0.99 * level,
        "Contrast": 0.99 * level,
        "Sharpness": 0.99 * level,
        "Posterize": 8 - round(6 * level),
        "Solarize": 255 * (1 - level),
        "AutoContrast": 0,
        "Equalize": 0,
    }


def mild_magnitudes(level: float, width: int, height: int) -> dict[str, float]:
    """Magnitudes of AugMix's operations at a level of 0 to 1."""
    return {
        "AutoContrast": 0,
        "Equalize": 0,
        "Posterize": 4 - int(4 * level),
        "Rotate": int(30 * level),
        "Solarize": 256 - int(256 * level),
        "ShearX": 0.3 * level,
        "ShearY": 0.3 * level,
        "TranslateX": int(width / 3 * level),
        "TranslateY": int(height / 3 * level),
    }


def pick(space: Mapping[str, float], draw: int) -> Operation:
    """The operation and sign that a draw below ``2 * len(space)`` stands for."""
    name = list(space)[draw // 2]
    return name, signed(name, space[name], draw % 2 == 1)


def signed(name: str, magnitude: float, negative: bool) -> float:
    """A magnitude, negative if the operation has a direction."""
    return -magnitude if negative and name in SIGNED else magnitude


def check_number(policy: str, what: str, given: int, lowest: int, highest: int | None) -> None:
    """Refuse a number of a policy that is out of range; ``highest`` is None where there is no end."""
    if given < lowest or (highest is not None and given > highest):
        needed = f"at least {lowest}" if highest is None else f"{lowest} to {highest}"
        raise ValueError(f"{policy} with {what}={given}: {needed} is needed. Change it, or leave it out.")
