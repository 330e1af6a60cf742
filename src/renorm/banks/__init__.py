"""Banks: the statistics of every site for one branch, as values and small files."""

from renorm.banks.adapt import Adaptation, adapt_
from renorm.banks.bank import Bank, Statistics, blend, merge
from renorm.banks.install import Installation, install_, using
from renorm.banks.measure import measure, recalibrate_
from renorm.banks.predict import prediction_time

__all__ = [
    "Adaptation",
    "Bank",
    "Installation",
    "Statistics",
    "adapt_",
    "blend",
    "install_",
    "measure",
    "merge",
    "prediction_time",
    "recalibrate_",
    "using",
]
