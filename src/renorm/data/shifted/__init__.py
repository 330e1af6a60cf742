"""Shifted images on disk, read and written: published benchmarks, other collections of the same classes, corrupted copies."""

from renorm.data.shifted.manifest import Settings
from renorm.data.shifted.stored import read_shifts
from renorm.data.shifted.write import write_shifts

__all__ = ["Settings", "read_shifts", "write_shifts"]
