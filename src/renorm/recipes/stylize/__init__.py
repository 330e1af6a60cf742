"""Giving pictures the style of others, and training the decoder for it. Each name is loaded when it is used first."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from renorm.recipes.stylize.applied import Styling, styling
    from renorm.recipes.stylize.config import Config
    from renorm.recipes.stylize.manner import Manner
    from renorm.recipes.stylize.opened import StyleNetwork, config_at, open_encoder, open_network
    from renorm.recipes.stylize.recipe import Stylization
    from renorm.recipes.stylize.score import Judge, pair_numbers
    from renorm.recipes.stylize.styles import measured, read_pictures
    from renorm.recipes.stylize.written import stylize

__all__ = [
    "Config",
    "Judge",
    "Manner",
    "StyleNetwork",
    "Styling",
    "Stylization",
    "config_at",
    "measured",
    "open_encoder",
    "open_network",
    "pair_numbers",
    "read_pictures",
    "styling",
    "stylize",
]

_MODULE_OF = {
    "Config": "config",
    "Judge": "score",
    "Manner": "manner",
    "StyleNetwork": "opened",
    "Styling": "applied",
    "Stylization": "recipe",
    "config_at": "opened",
    "measured": "styles",
    "open_encoder": "opened",
    "open_network": "opened",
    "pair_numbers": "score",
    "read_pictures": "styles",
    "stylize": "written",
    "styling": "applied",
}


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
