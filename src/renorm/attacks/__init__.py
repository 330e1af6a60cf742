"""Attacks on images in [0, 1], through one branch of a model, which they leave as it was."""

from renorm.attacks.attack import EPS, Attack, fgsm, pgd
from renorm.attacks.opened import Mode
from renorm.attacks.search import Ball, Random
from renorm.attacks.trades import BETA, divergence, trades, trades_loss

__all__ = ["BETA", "EPS", "Attack", "Ball", "Mode", "Random", "divergence", "fgsm", "pgd", "trades", "trades_loss"]
