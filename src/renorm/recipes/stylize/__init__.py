"""Giving pictures the style of others, by a decoder that is trained for it."""

from renorm.recipes.stylize.config import Config

__all__ = ["Config"]
