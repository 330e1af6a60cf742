"""Images with labels - the embedded digits, CIFAR, folders, Parquet files in the Hugging Face layout - and views of them."""

from renorm.data.cifar import CIFAR
from renorm.data.classes import in_order, matched
from renorm.data.images import IMAGENET_MEAN, IMAGENET_STD, Images, sample
from renorm.data.load import load
from renorm.data.nasbench201 import CellTable, nasbench201
from renorm.data.operations import GREY
from renorm.data.policies import AugMix, AutoAugment, Policy, RandAugment, TrivialAugment
from renorm.data.views import NAMES as VIEWS
from renorm.data.views import (
    SMALL,
    Centered,
    Crop,
    Resized,
    Strong,
    View,
    Weak,
    central,
    clean,
    seeded,
    seeded_batch,
    view,
)

__all__ = [
    "CIFAR",
    "GREY",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "SMALL",
    "VIEWS",
    "AugMix",
    "AutoAugment",
    "CellTable",
    "Centered",
    "Crop",
    "Images",
    "Policy",
    "RandAugment",
    "Resized",
    "Strong",
    "TrivialAugment",
    "View",
    "Weak",
    "central",
    "clean",
    "in_order",
    "load",
    "matched",
    "nasbench201",
    "sample",
    "seeded",
    "seeded_batch",
    "view",
]
