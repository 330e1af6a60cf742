"""Groups of options of a recipe of one's own: flat and back, off and on, read from config.json."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, ClassVar

import pytest

from renorm.recipes import Flat, configured, options_of, read_config


@dataclass(frozen=True)
class Smoothing:
    """Averaged weights.

    Args:
        decay: Of the average.
        begin: Its first step.
    """

    decay: float = field(default=0.9, metadata={"flat": "average", "off": 0.0})
    begin: int = field(default=0, metadata={"formerly": "average_from"})


@dataclass(frozen=True)
class Config:
    """A recipe.

    Args:
        data: What it trains on.
        tags: Of the run.
        smoothing: Averaged weights; None averages nothing.
    """

    recipe: ClassVar[str] = "own"
    data: str
    tags: list[str] = field(default_factory=list)
    smoothing: Smoothing | None = field(
        default_factory=Smoothing, metadata={"prefix": "average_", "remedy": "--average 0.9"}
    )


class Options(Flat, of=Config):
    """Everything."""


@pytest.mark.parametrize(
    "given", [{}, {"tags": ["a", "b"]}, {"average": 0.0}, {"average": 0.5, "average_begin": 3}], ids=str
)
def test_there_and_back_and_through_json(given: dict[str, Any]):
    config = configured(Config, data="digits", **given)
    assert options_of(config) == {"data": "digits", "tags": [], "average": 0.9, "average_begin": 0} | given
    assert (config.smoothing is None) == (given.get("average") == 0)
    assert read_config(Config, json.loads(json.dumps({"config": asdict(config)}))) == config
    assert vars(Options(data="digits", **given)) == options_of(config)


def test_a_flat_file_from_before_is_read_with_what_did_nothing():
    assert read_config(Config, {"config": {"data": "d", "average_from": 3}}) == Config(
        "d", smoothing=Smoothing(begin=3)
    )
    assert read_config(Config, {"config": {"data": "d", "average": 0.0, "average_from": 3}}).smoothing is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"average": 0.0, "average_begin": 3}, r"--average-begin with --average 0.0: .* or add --average 0.9"),
        ({"colour": 1}, r"own has no option 'colour': one of data, tags, average, average_begin is needed"),
    ],
)
def test_what_would_do_nothing_is_refused(given: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError), match=message):
        configured(Config, data="digits", **given)


def test_what_is_needed_is_asked_for():
    with pytest.raises(TypeError, match=r"own without data: that is needed. Name it"):
        configured(Config)
    with pytest.raises(ValueError, match=r"the configuration lacks data"):
        read_config(Config, {"config": {"average": 0.5}})
