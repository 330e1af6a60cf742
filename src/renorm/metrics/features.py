"""What two sets of features must be like to be compared."""

import torch
from torch import Tensor


def two_sets(real: Tensor, fake: Tensor, fewest: int) -> tuple[Tensor, Tensor]:
    """Both in float64, with nothing that is not a finite number. Shape: ``(N, D), (M, D)``, N and M at least ``fewest``.

    Raises:
        ValueError: they are not.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or min(len(real), len(fake)) < fewest:
        raise ValueError(
            f"features of shape {tuple(real.shape)} and {tuple(fake.shape)} were given. (images, features) is needed on both "
            f"sides, of one network and of at least {fewest} images. Take more images, and flatten what the network gives."
        )
    for name, side in (("first", real), ("second", fake)):
        if bad := int((~side.isfinite()).any(1).sum()):
            raise ValueError(
                f"{bad} of {len(side)} images on the {name} side have features that are not finite. Finite numbers are needed. "
                "Look at these images, and run the network in float32."
            )
    return real.detach().to(torch.float64), fake.detach().to(torch.float64)
