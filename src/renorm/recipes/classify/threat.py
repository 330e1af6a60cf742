"""What attacks among the shifts may do: as asked for, else as a run was trained with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from renorm.shifts import Threat

if TYPE_CHECKING:
    from renorm.evaluate import Choice
    from renorm.recipes.asked import ThreatOptions
    from renorm.recipes.classify.config import Config


def threat_of(asked: ThreatOptions, config: Config, choose: Callable[[str], Mapping[str, Choice]]) -> Threat:
    """What options say.

    Args:
        asked: The options.
        config: How the model was trained.
        choose: Makes the bank of a name.
    """
    trained = config.threat
    ball = asked.attack_ball or trained.ball
    own = ball == trained.ball  # a radius of another ball means nothing here
    name = asked.attack_branch or ""
    return Threat(
        eps=asked.eps or (trained.eps if own else None),
        step=asked.attack_step_size or (trained.step_size if own and asked.eps is None else None),
        ball=ball,
        random_start=asked.attack_start,
        bank=name,
        through=choose(name)[name] if name else None,
    )
