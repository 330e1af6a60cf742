"""Options of attacks; see :mod:`renorm.recipes.classify.adversarial`, which checks them. Nothing here needs torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

AttackBall = Literal["linf", "l2"]
AttackMode = Literal["eval", "train"]
AdvLoss = Literal["cross-entropy", "trades"]


@dataclass(frozen=True)
class Attacking:
    """Attacks in training; those in evaluation have the same radius, ball and step size by default.

    Args:
        eps: Radius of the attack that makes the view ``adv``, in units of 0 to 1, a number or a fraction: by default
            8/255 for ``linf`` and 0.5 for ``l2``. Attacks in evaluation have it by default too, as they have norm and
            step size.
        ball: ``linf`` bounds the change of each value, ``l2`` the length of the whole change.
        steps: Steps of projected gradient descent; 1 with ``--attack-step-size`` of the radius is the fast gradient
            method.
        step_size: Length of a step; by default a quarter of the radius.
        start: Start at a random point near each image.
        mode: ``eval`` attacks the model as it predicts, and moves no statistics. ``train`` attacks it in training
            mode as the authors of sandwich batch norm do: each step normalizes by the attacked batch and moves the
            attacked branch's running statistics once more.
        loss: ``cross-entropy`` of each branch, and their mean; or ``trades``: the mean over other branches, plus
            ``trades_beta`` times how far predictions of attacked images are from those of the images.
        trades_beta: Its weight.
    """

    eps: str | None = field(default=None, metadata={"flat": "eps"})
    ball: AttackBall = field(default="linf", metadata={"formerly": "attack_norm"})
    steps: int = 7
    step_size: str | None = None
    start: bool = True
    mode: AttackMode = "eval"
    loss: AdvLoss = field(default="cross-entropy", metadata={"flat": "adv_loss"})
    trades_beta: float = field(default=6.0, metadata={"flat": "trades_beta"})
