"""Views of a training image: ``clean``, ``weak`` and ``strong``.

A view takes one uint8 image and draws from torch's global CPU generator, as torchvision's transforms do.
:func:`seeded` makes the result a function of a key alone and gives the generator back, so that neither workers nor
order matter.
"""

from renorm.augment.operations import GREY
from renorm.augment.policies import AugMix, AutoAugment, Policy, RandAugment, TrivialAugment
from renorm.augment.seeds import seeded, seeded_batch
from renorm.augment.views import NAMES, SMALL, Centered, Crop, Resized, Strong, View, Weak, central, clean, view

__all__ = [
    "GREY",
    "NAMES",
    "SMALL",
    "AugMix",
    "AutoAugment",
    "Centered",
    "Crop",
    "Policy",
    "RandAugment",
    "Resized",
    "Strong",
    "TrivialAugment",
    "View",
    "Weak",
    "central",
    "clean",
    "seeded",
    "seeded_batch",
    "view",
]
