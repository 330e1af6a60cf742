"""Classification where branches are views of one image, or the domains of the data."""

from renorm.recipes.classify.config import Config
from renorm.recipes.classify.recipe import Classification, build, check, read

__all__ = ["Classification", "Config", "build", "check", "read"]
