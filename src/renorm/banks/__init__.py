"""Banks: the statistics of every site for one branch, as values and small files."""

from renorm.banks.bank import Bank
from renorm.banks.batched import check_one_batch
from renorm.banks.choice import Choice
from renorm.banks.combine import blend, interpolate, merge, source_weight
from renorm.banks.counting import Counted, Samples, counted, num_samples
from renorm.banks.hold import exclusive
from renorm.banks.install import Installation, install_, using
from renorm.banks.measure import measure, recalibrate_
from renorm.banks.observe import (
    Forward,
    Observer,
    call,
    evaluating,
    following,
    nothing,
    observed,
    unreached,
    without,
)
from renorm.banks.pool import pool_statistics_
from renorm.banks.sites import (
    Branch,
    SiteTensors,
    branches_of,
    check_called,
    fingerprint,
    hash_of,
    named_sites,
    of_other_kinds,
    read_elsewhere,
    resolve,
    sharded,
    site_tensors,
    tracked,
    unwrap,
    versions,
)
from renorm.banks.statistics import Statistics, check_all_finite
from renorm.banks.transfer import transfer

__all__ = [
    "Bank",
    "Branch",
    "Choice",
    "Counted",
    "Forward",
    "Installation",
    "Observer",
    "Samples",
    "SiteTensors",
    "Statistics",
    "blend",
    "branches_of",
    "call",
    "check_all_finite",
    "check_called",
    "check_one_batch",
    "counted",
    "evaluating",
    "exclusive",
    "fingerprint",
    "following",
    "hash_of",
    "install_",
    "interpolate",
    "measure",
    "merge",
    "named_sites",
    "nothing",
    "num_samples",
    "observed",
    "of_other_kinds",
    "pool_statistics_",
    "read_elsewhere",
    "recalibrate_",
    "resolve",
    "sharded",
    "site_tensors",
    "source_weight",
    "tracked",
    "transfer",
    "unreached",
    "unwrap",
    "using",
    "versions",
    "without",
]
