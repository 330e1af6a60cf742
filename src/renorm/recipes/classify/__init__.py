"""Classification where branches are views of one image, or the domains of the data. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renorm.recipes.classify import score
    from renorm.recipes.classify.adversarial import attack_in_words
    from renorm.recipes.classify.attacking import Attacking
    from renorm.recipes.classify.checks import check
    from renorm.recipes.classify.config import Config, Options, configured
    from renorm.recipes.classify.curve import CurveOptions, PreparedCurve, draw_curve, prepare_curve
    from renorm.recipes.classify.files import write_plain, write_program
    from renorm.recipes.classify.gradients import gradients_of_run
    from renorm.recipes.classify.groups import (
        Augmentation,
        Averaging,
        Computing,
        DataSource,
        Network,
        Optimization,
        Writing,
    )
    from renorm.recipes.classify.mix_options import Exchange, ImageMix, MixOptions
    from renorm.recipes.classify.reading import read
    from renorm.recipes.classify.recipe import Classification
    from renorm.recipes.classify.resume import resumed
    from renorm.recipes.classify.saved import check_classifier
    from renorm.recipes.classify.score import views_of
    from renorm.recipes.classify.start import build

__all__ = [
    "Attacking",
    "Augmentation",
    "Averaging",
    "Classification",
    "Computing",
    "Config",
    "CurveOptions",
    "DataSource",
    "Exchange",
    "ImageMix",
    "MixOptions",
    "Network",
    "Optimization",
    "Options",
    "PreparedCurve",
    "Writing",
    "attack_in_words",
    "build",
    "check",
    "check_classifier",
    "configured",
    "draw_curve",
    "gradients_of_run",
    "prepare_curve",
    "read",
    "resumed",
    "score",
    "views_of",
    "write_plain",
    "write_program",
]

_MODULE_OF = {
    "Attacking": "attacking",
    "Augmentation": "groups",
    "Averaging": "groups",
    "Classification": "recipe",
    "Computing": "groups",
    "Config": "config",
    "CurveOptions": "curve",
    "DataSource": "groups",
    "Exchange": "mix_options",
    "ImageMix": "mix_options",
    "MixOptions": "mix_options",
    "Network": "groups",
    "Optimization": "groups",
    "Options": "config",
    "PreparedCurve": "curve",
    "Writing": "groups",
    "attack_in_words": "adversarial",
    "build": "start",
    "check": "checks",
    "check_classifier": "saved",
    "configured": "config",
    "draw_curve": "curve",
    "gradients_of_run": "gradients",
    "prepare_curve": "curve",
    "read": "reading",
    "resumed": "resume",
    "views_of": "score",
    "write_plain": "files",
    "write_program": "files",
}


def __getattr__(name: str) -> Any:
    if name == "score":
        return import_module(f"{__name__}.score")
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
