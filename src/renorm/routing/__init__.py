"""Which branch each sample of the current batch belongs to.

All sites of a model share one :class:`Route`. It holds the branches' names and the :class:`Selection` that is open now,
so that nothing has to be passed through the model's own ``forward``.
"""

from renorm.routing.batch import Stacked, interleave, stack, unstack
from renorm.routing.contexts import Lasting, route, route_, through
from renorm.routing.folding import order_of
from renorm.routing.names import UNKNOWN, check_names, shown
from renorm.routing.recompute import Forwards, rerun
from renorm.routing.route import Route, Visit, route_of, routes_of
from renorm.routing.selection import RowOrder, Selection
from renorm.routing.spec import Labels, Spec

__all__ = [
    "UNKNOWN",
    "Forwards",
    "Labels",
    "Lasting",
    "Route",
    "RowOrder",
    "Selection",
    "Spec",
    "Stacked",
    "Visit",
    "check_names",
    "interleave",
    "order_of",
    "rerun",
    "route",
    "route_",
    "route_of",
    "routes_of",
    "shown",
    "stack",
    "through",
    "unstack",
]
