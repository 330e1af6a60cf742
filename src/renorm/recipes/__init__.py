"""What can be trained, and what a run of it opens as."""

from renorm.recipes.classify.named import NamedModel, config_of, open_file, open_named, open_run

__all__ = ["NamedModel", "config_of", "open_file", "open_named", "open_run"]
