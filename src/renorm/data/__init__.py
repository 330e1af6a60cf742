"""Images with labels - the embedded digits, CIFAR, folders, Parquet files in the Hugging Face layout - and views of them."""

from renorm.data.cifar import CIFAR
from renorm.data.classes import in_order, matched
from renorm.data.decode import Blobs, Encoded, natural_size
from renorm.data.encode import QUALITY, Coding, Format
from renorm.data.folder import SUFFIXES, image_files, load_folder, subfolders
from renorm.data.images import IMAGENET_MEAN, IMAGENET_STD, Images, sample
from renorm.data.load import load, read_again
from renorm.data.nasbench201 import CellTable, nasbench201
from renorm.data.operations import GREY
from renorm.data.origin import Origin
from renorm.data.parquet import LABELS, categories, concatenate, image_name, parquet_files, undamaged
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
    "LABELS",
    "QUALITY",
    "SMALL",
    "SUFFIXES",
    "VIEWS",
    "AugMix",
    "AutoAugment",
    "Blobs",
    "CellTable",
    "Centered",
    "Coding",
    "Crop",
    "Encoded",
    "Format",
    "Images",
    "Origin",
    "Policy",
    "RandAugment",
    "Resized",
    "Strong",
    "TrivialAugment",
    "View",
    "Weak",
    "categories",
    "central",
    "clean",
    "concatenate",
    "image_files",
    "image_name",
    "in_order",
    "load",
    "load_folder",
    "matched",
    "nasbench201",
    "natural_size",
    "parquet_files",
    "read_again",
    "sample",
    "seeded",
    "seeded_batch",
    "subfolders",
    "undamaged",
    "view",
]
