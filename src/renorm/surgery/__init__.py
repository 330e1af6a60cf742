"""Changing the norms of a model in place, provably and reversibly, and folding them back to plain ones."""

from renorm.surgery.branches import add_branch_
from renorm.surgery.conversion import Conversion
from renorm.surgery.convert import sandwich_, split_
from renorm.surgery.fold import fold
from renorm.surgery.plan import plan
from renorm.surgery.swap import refuse_spread

__all__ = ["Conversion", "add_branch_", "fold", "plan", "refuse_spread", "sandwich_", "split_"]
