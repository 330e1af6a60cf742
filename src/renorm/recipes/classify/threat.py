"""What attacks among the shifts may do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from renorm.attacks import Ball
from renorm.shifts import Threat

if TYPE_CHECKING:
    from renorm.evaluate import Choice
    from renorm.recipes.classify.config import Config


@dataclass(frozen=True)
class ThreatOptions:
    """What the attacks among the shifts may do; by default what a run was trained with, else as published.

    Args:
        eps: Radius in units of 0 to 1, a number or a fraction: by default 8/255 for linf and 0.5 for l2.
        attack_ball: linf bounds the change of each value, l2 the length of the whole change; by default linf.
        attack_step_size: Length of a step of pgd; by default a quarter of the radius.
        attack_start: Start pgd at a random point near each image.
        attack_branch: Attack this branch, or bank as of --banks, whichever is evaluated; by default each is attacked itself.
    """

    eps: str | None = None
    attack_ball: Ball | None = None
    attack_step_size: str | None = None
    attack_start: bool = True
    attack_branch: str | None = None

    def threat(self, config: Config, choose: Callable[[str], Mapping[str, Choice]]) -> Threat:
        """What these options say.

        Args:
            config: How the model was trained.
            choose: Makes the bank of a name.
        """
        trained = config.threat
        ball = self.attack_ball or trained.ball
        own = ball == trained.ball  # a radius of another ball means nothing here
        name = self.attack_branch or ""
        return Threat(
            eps=self.eps or (trained.eps if own else None),
            step=self.attack_step_size or (trained.step_size if own and self.eps is None else None),
            ball=ball,
            random_start=self.attack_start,
            bank=name,
            through=choose(name)[name] if name else None,
        )
