"""Searching the cell of a network, and ranking cells by the weights that they share."""

from renorm.recipes.search.config import Config

__all__ = ["Config"]
