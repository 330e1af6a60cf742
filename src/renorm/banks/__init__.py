"""Banks: the statistics of every site for one branch, as values and small files."""

from renorm.banks.bank import Bank, Statistics, blend, merge
from renorm.banks.choice import Choice
from renorm.banks.install import Installation, install_, using
from renorm.banks.measure import measure, recalibrate_

__all__ = [
    "Bank",
    "Choice",
    "Installation",
    "Statistics",
    "blend",
    "install_",
    "measure",
    "merge",
    "recalibrate_",
    "using",
]
