"""One page that needs nothing else to be read, of a head and sections."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from renorm.extras import require
from renorm.report.section import Head, Section

WORDS = {  # that a page uses without saying what they are
    "site": "a normalization layer of the model, named by its path",
    "branch": "a named population of inputs, such as weakly and strongly augmented images, that the model was trained on",
    "bank": "what all sites use for one branch: means and variances, perhaps scales and offsets; the weights are shared",
    "shift": "a change of the data that the model is evaluated under: a corruption, a domain, an attack",
    "clean@x": "the bank x with its statistics measured again on training images that are not augmented",
    "adapted@x": "the bank x adapted to a few unlabelled images of each shift",
}


def page(head: Head, sections: Sequence[Section]) -> str:
    """The page as HTML; what draws is imported only here."""
    from renorm.report.svg import svg

    jinja2 = require("jinja2")
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = require("markupsafe").Markup

    def breakable(name: str) -> str:
        """A name that may break after its signs."""
        return markup("<wbr>").join(re.split(r"(?<=[@+_/-])", name))

    environment.filters |= {"breakable": breakable, "svg": lambda chart: markup(svg(chart))}
    template = environment.get_template("page.html.jinja")
    return template.render(head=head, sections=sections, words=WORDS)
