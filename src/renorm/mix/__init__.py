"""Mixing samples in training: moments of features by exchange, images by CutMix or Mixup, labels by both."""

from renorm.mix.draws import Draw, Weight
from renorm.mix.exchange import MomentExchange
from renorm.mix.mix import CutMix, Mix, Mixup

__all__ = [
    "CutMix",
    "Draw",
    "Mix",
    "Mixup",
    "MomentExchange",
    "Weight",
]
