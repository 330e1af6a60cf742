"""Converting a model's norms to sandwiches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import Generator, nn
from torch.optim import Optimizer

from renorm.layers import Site, Sync, check_sandwich, check_unknown
from renorm.routing import Route
from renorm.surgery import rules
from renorm.surgery.convert import Conversion, Sites, convert_

WHOLE = (
    "a sandwich needs an affine that branches have in common. Such norms could only be copied whole. "
    "Exclude it by sites=, or use renorm.split_."
)


def sandwich_(
    model: nn.Module,
    branches: Sequence[str],
    *,
    share: str | Iterable[str] = ("statistics",),
    sites: Sites = None,
    optimizer: Optimizer | None = None,
    sync: Sync = None,
    init: str = "identity",
    generator: Generator | None = None,
    unknown: str | None = None,
) -> Conversion:
    """Give every norm of a model an affine per branch on top of its own, which all branches share, in place.

    The affines of the branches start as the identity, so outputs stay what they were. Mode, ``requires_grad``, dtype, device,
    hooks, fused activations and sharing are kept.

    Reduces to: the model as it was, until training tells the branches apart.

    Args:
        branches: their names; the first is what evaluation uses without a route.
        share: ``"statistics"``, for classes; or ``()``, statistics per branch, for domains, or clean and attacked images.
        sites: which norms: a name, a glob pattern or several, or ``predicate(name, module)``; all by default.
        optimizer: carried over with its state, if it was built before. Affines of branches join it beside the shared ones, all
            without weight decay: where a group has some, they go to a new group, so build schedulers afterwards.
        sync: pool training statistics over ranks, see :class:`SplitBatchNorm`; norms that are SyncBatchNorm keep theirs.
        init: ``"identity"``, or ``"published"`` for a model that is trained from scratch; see :class:`SandwichBatchNorm`.
        generator: what ``"published"`` draws from.
        unknown: what samples of no branch get, see :class:`SandwichBatchNorm`.

    Raises:
        ValueError: whatever :func:`split_` refuses; norms of unknown classes, as no affine of theirs can be shared; an affine
            in ``share``.

    Reference: Gong, Chen, Chen & Wang, *Sandwich batch normalization*, WACV 2022. With ``share=()`` and the branches clean and
    adversarial it is the paper's SaAuxBN.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> renorm.sandwich_(model, ["clean", "adv"], share=())
        1 sites now have the branches clean, adv.
          BatchNorm2d -> SandwichBatchNorm: 1
    """
    shared = check_sandwich(share)
    route = Route(branches, check_unknown(unknown, shared))

    def make(norm: nn.Module) -> Site:
        return rules.sandwich(norm, route, shared, sync, init, generator)

    return convert_(model, route, make, sites, optimizer, WHOLE)
