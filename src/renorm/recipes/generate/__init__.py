"""Generating pictures of classes, with norms that know the class."""

from renorm.recipes.generate.config import Config

__all__ = ["Config"]
