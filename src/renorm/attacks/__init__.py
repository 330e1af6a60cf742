"""Attacks on images in [0, 1], through one branch of a model, which they leave as it was."""

from renorm.attacks.attack import EPS, Attack, fgsm, pgd
from renorm.attacks.ball import Ball, Random, lengths, radius
from renorm.attacks.logits import Logits, Mode, logits_of
from renorm.attacks.trades import BETA, divergence, search_apart, trades, trades_loss

__all__ = [
    "BETA",
    "EPS",
    "Attack",
    "Ball",
    "Logits",
    "Mode",
    "Random",
    "divergence",
    "fgsm",
    "lengths",
    "logits_of",
    "pgd",
    "radius",
    "search_apart",
    "trades",
    "trades_loss",
]
