"""Images with labels: the embedded digits, CIFAR, folders, and Parquet files in the Hugging Face layout."""

from renorm.data.cifar import CIFAR
from renorm.data.images import Images, sample
from renorm.data.load import load

__all__ = ["CIFAR", "Images", "load", "sample"]
