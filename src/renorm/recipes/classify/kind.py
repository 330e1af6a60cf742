"""Classification as the rest of renorm knows it."""

from renorm.recipes.classify.config import Config
from renorm.recipes.classify.named import open_run
from renorm.recipes.classify.recipe import Classification
from renorm.recipes.classify.saved import config_of
from renorm.recipes.kind import Kind

KIND = Kind(Config, config_of, Classification, open_run)
