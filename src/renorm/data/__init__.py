"""Images with labels: the embedded digits, folders, and Parquet files in the Hugging Face layout."""

from renorm.data.images import Images, sample
from renorm.data.load import load

__all__ = ["Images", "load", "sample"]
