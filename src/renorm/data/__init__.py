"""Images with labels - the embedded digits, CIFAR, folders, Parquet files in the Hugging Face layout - and views of them."""

from renorm.data.arrays import array_files, described, is_pair, open_array
from renorm.data.augmix import AugMix
from renorm.data.blobs import Blobs, Files
from renorm.data.cifar import CIFAR
from renorm.data.classes import in_order, labels_in_words, matched, tell_order
from renorm.data.columns import LABELS, categories, concatenate, image_name, label_name
from renorm.data.crops import Centered, Resized
from renorm.data.decode import Encoded, encode_lazily, square
from renorm.data.encode import QUALITY, Coding, Format
from renorm.data.formats import KINDS, SUFFIXES, is_image, is_left_behind
from renorm.data.frame import SMALL, Frame
from renorm.data.images import Images, sample
from renorm.data.listing import has_images, subfolders
from renorm.data.load import load, read_again
from renorm.data.nasbench201 import CellTable, nasbench201
from renorm.data.operations import GREY
from renorm.data.origin import Origin
from renorm.data.parquet import parquet_files
from renorm.data.pictures import Raster, Rasters, pictures
from renorm.data.policies import AutoAugment, Policy, RandAugment, TrivialAugment
from renorm.data.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing, config_of, preprocessing_of, three
from renorm.data.rows import ParquetImages, open_parquet, read_columns
from renorm.data.seeded import seeded, seeded_batch
from renorm.data.sources import evaluation_split, splits_of
from renorm.data.views import NAMES as VIEWS
from renorm.data.views import Crop, Strong, View, Weak, clean, view

__all__ = [
    "CIFAR",
    "GREY",
    "IMAGENET_MEAN",
    "IMAGENET_STD",
    "KINDS",
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
    "Files",
    "Format",
    "Frame",
    "Images",
    "Origin",
    "ParquetImages",
    "Policy",
    "Preprocessing",
    "RandAugment",
    "Raster",
    "Rasters",
    "Resized",
    "Strong",
    "TrivialAugment",
    "View",
    "Weak",
    "array_files",
    "categories",
    "clean",
    "concatenate",
    "config_of",
    "described",
    "encode_lazily",
    "evaluation_split",
    "has_images",
    "image_name",
    "in_order",
    "is_image",
    "is_left_behind",
    "is_pair",
    "label_name",
    "labels_in_words",
    "load",
    "matched",
    "nasbench201",
    "open_array",
    "open_parquet",
    "parquet_files",
    "pictures",
    "preprocessing_of",
    "read_again",
    "read_columns",
    "sample",
    "seeded",
    "seeded_batch",
    "splits_of",
    "square",
    "subfolders",
    "tell_order",
    "three",
    "view",
]
