"""Checks for what you write yourself: a norm, a model, a recipe. Each runs laws by name, and says which are broken.

The laws can be run one by one, as cases of a test::

    @pytest.mark.parametrize("law", renorm.testing.SITE_LAWS, ids=lambda law: law.__name__)
    def test_my_norm(law):
        law(renorm.testing.Subject(lambda: MyNorm(5)))
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from renorm.surgery import split_
from renorm.testing.conversions import LAWS as CONVERSION_LAWS
from renorm.testing.conversions import Converting
from renorm.testing.hashing import hashed
from renorm.testing.recipes import LAWS as RECIPE_LAWS
from renorm.testing.recipes import Training, numbers, same, trained
from renorm.testing.running import run
from renorm.testing.sites import LAWS as SITE_LAWS
from renorm.testing.sites import Subject, randomize_
from renorm.train import Recipe

__all__ = [
    "CONVERSION_LAWS",
    "RECIPE_LAWS",
    "SITE_LAWS",
    "Converting",
    "Subject",
    "Training",
    "check_conversion",
    "check_recipe",
    "check_site",
    "hashed",
    "numbers",
    "randomize_",
    "same",
    "trained",
]


def check_site(
    norm: nn.Module | Callable[[], nn.Module],
    shape: tuple[int, ...],
    *,
    convert: Callable[..., Any] = split_,
    expected: Mapping[str, str] | None = None,
) -> None:
    """Check that a norm, of a class of your own say, becomes a site that obeys all laws.

    Args:
        norm: the norm, of which copies are taken, or what makes one.
        shape: of the features of one sample, ``(C, *)``.
        convert: how it becomes a site: :func:`renorm.split_`, :func:`renorm.sandwich_`, or with options by ``functools.partial``.
        expected: names of laws that are known to be broken, each with its reason; one of them that holds is an error too.

    Raises:
        AssertionError: laws are broken; the text names each, says what it is, and the first line of what went wrong.

    Example:
        >>> check_site(torch.nn.BatchNorm1d(4), (4, 6))
    """
    make = (lambda: copy.deepcopy(norm)) if isinstance(norm, nn.Module) else norm
    run(SITE_LAWS, Subject(make, convert, shape), expected)


def check_conversion(
    model: nn.Module,
    images: Any,
    *,
    convert: Callable[..., Any] = split_,
    expected: Mapping[str, str] | None = None,
) -> None:
    """Check that nothing of a model is lost under conversion, routes, folding, files and undo. The model stays as it is.

    Args:
        model: plain.
        images: a batch of several, as the model takes them.
        convert, expected: as of :func:`check_site`.

    Raises:
        AssertionError: laws are broken.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> check_conversion(model, torch.randn(8, 3, 5, 5))
    """
    run(CONVERSION_LAWS, Converting(model, images, convert), expected)


def check_recipe(
    recipe: Callable[[], Recipe], *, stop: int | None = None, expected: Mapping[str, str] | None = None
) -> None:
    """Check what the training loop relies on in a recipe of your own; it is trained twice, so give it a few steps.

    Args:
        recipe: makes it, alike each time.
        stop: after which step one of the two runs is stopped and gone on with; by default the last but one.
        expected: as of :func:`check_site`.

    Raises:
        AssertionError: laws are broken.
    """
    run(RECIPE_LAWS, Training(recipe, stop), expected)
