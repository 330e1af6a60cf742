"""Ways to adapt statistics, by name, so that several can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from torch import Tensor

from renorm.adapt import Auto, Only, adapt_
from renorm.banks import Bank
from renorm.models import Classifier

USUAL_METHODS = ("source", "auto", "16", "64", "replacement")
FORMS = "source, auto, replacement, or a prior such as 16; all but the source perhaps with :mean or :variance after it"


@dataclass(frozen=True)
class Method:
    """One way to adapt.

    Args:
        prior: as :func:`renorm.adapt_` takes it: infinite is the source, 0 the images alone.
        only: the moment that moves, None for both.

    Example:
        >>> Method.named("16:mean").label
        'prior 16, mean only'
    """

    prior: float | Auto
    only: Only | None = None

    @classmethod
    def named(cls, text: str) -> Method:
        """The method of a name.

        Raises:
            ValueError: there is none.
        """
        name, colon, part = text.partition(":")
        only = next((each for each in get_args(Only) if each == part), None)
        prior = _prior(name)
        if prior is None or (colon and (only is None or name == "source")):
            raise ValueError(f"unknown method {text!r}: {FORMS} is needed. Choose some of these.")
        return cls(prior, only)

    @property
    def is_source(self) -> bool:
        """Whether nothing moves."""
        return self.prior == float("inf")

    @property
    def label(self) -> str:
        """Its name for people."""
        known = {float("inf"): "source", 0.0: "full replacement", "auto": "auto"}
        return (known.get(self.prior) or f"prior {self.prior:g}") + (f", {self.only} only" if self.only else "")

    @property
    def made(self) -> str:
        """How its bank is made, in words."""
        if self.is_source:
            return "of the model"
        text = self.prior if isinstance(self.prior, str) else f"{self.prior:g}"
        return f"adapted to images of the shift, prior {text}" + (f", {self.only} only" if self.only else "")

    def bank(self, classifier: Classifier, x: Tensor, branch: str | None) -> tuple[Bank | None, float]:
        """The statistics that this method would install for some input, and the source's weight; no bank where it keeps those.

        Shape: ``(n, 3, H, W)``, normalized.
        """
        if self.is_source:
            return None, 1.0
        adaptation = adapt_(classifier.model, x, prior=self.prior, branch=branch, only=self.only, foreign="adapt")
        try:
            kept = adaptation.source_weight == 1
            return None if kept else Bank.of(classifier.model, branch=branch), adaptation.source_weight
        finally:
            adaptation.undo()


def _prior(name: str) -> float | Auto | None:
    known: dict[str, float | Auto] = {"source": float("inf"), "auto": "auto", "replacement": 0.0}
    if name in known:
        return known[name]
    try:
        prior = float(name)
    except ValueError:
        return None
    return prior if 0 <= prior < float("inf") else None
