"""Converting a model's norms in place."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Generator, nn
from torch.optim import Optimizer

from renorm.layers import SHARABLE, Site, Sync, check_sandwich, check_share, check_unknown, read_by_methods
from renorm.routing import Route, check_names
from renorm.surgery import rules
from renorm.surgery.conversion import Conversion
from renorm.surgery.plan import Norms, Sites, plan
from renorm.surgery.swap import keep_tied, swap_, unwrapped

Make = Callable[[nn.Module], Site]
COPIED = "Such norms are copied whole. Exclude it by sites=, or leave that out and build an optimizer afterwards."
WHOLE = (
    "a sandwich needs an affine that branches have in common. Such norms could only be copied whole. "
    "Exclude it by sites=, or use renorm.split_."
)


@torch.inference_mode(False)  # what is made can be trained, wherever it is made
def split_(
    model: nn.Module,
    branches: Sequence[str],
    *,
    share: str | Iterable[str] = (),
    sites: Sites = None,
    optimizer: Optimizer | None = None,
    sync: Sync = None,
    init: str = "identity",
    generator: Generator | None = None,
) -> Conversion:
    """Give every norm of a model one set of statistics and affine parameters per branch, in place.

    Every branch starts as a copy of the norm, so outputs stay what they were. Mode, ``requires_grad``, dtype, device,
    hooks, fused activations and sharing are kept. Norms of unknown classes become one copy per branch.

    Reduces to: the model as it was, for evaluation without a route and for one branch.

    Args:
        branches: their names; the first is what evaluation uses without a route.
        share: what branches have in common, of ``"statistics"`` and ``"affine"``.
        sites: which norms: a name, a glob pattern or several, or ``predicate(name, module)``; all by default.
        optimizer: carried over with its state, if it was built before.
        sync: pool training statistics over ranks, see :class:`SplitBatchNorm`: of norms that are not among ``sites`` too, whose
            tensors all branches share. Norms that are SyncBatchNorm keep their own.
        init: ``"identity"``, copies of the norm; or ``"published"`` for a model that is trained from scratch: scales drawn from
            N(1, 0.02), biases 0.
        generator: what ``"published"`` draws from.

    Raises:
        ValueError: nothing to convert, a name that matches nothing, a model that is converted already, wrapped in DDP, or
            a norm itself, lazy norms, unknown ``share`` or ``init``, a norm of unknown class where it cannot be copied whole.

    Reference: Merchant, Zoph & Cubuk, *Does data augmentation benefit from split BatchNorms*, 2020.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> renorm.split_(model, ["weak", "strong"])
        1 sites now have the branches weak, strong.
          BatchNorm2d -> SplitBatchNorm: 1
    """
    route, share = Route(check_names(branches)), check_share(share)
    given = {"share": share, "optimizer": optimizer is not None, "sync": sync is not None, "init": init != "identity"}
    apart = [f"{name}=" for name, is_given in given.items() if is_given]
    whole = f"{' and '.join(apart)} {'was' if len(apart) == 1 else 'were'} given. {COPIED}" if apart else None

    def make(norm: nn.Module) -> Site:
        split = rules.rule_for(norm).action == "split"
        return rules.split(norm, route, share, sync, init, generator) if split else rules.copies(norm, route)

    return convert_(plan(unwrapped(model), sites, whole), route, make, optimizer, sync)


@torch.inference_mode(False)  # what is made can be trained, wherever it is made
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
        sync: pool training statistics over ranks, as in :func:`split_`, of norms that are not among ``sites`` too.
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

    return convert_(plan(unwrapped(model), sites, WHOLE), route, make, optimizer, sync)


def convert_(found: Norms, route: Route, make: Make, optimizer: Optimizer | None, sync: Sync) -> Conversion:
    """Put what ``make`` makes in the place of every chosen norm, and a synchronized site without branches in that of others."""
    report = Conversion(found.root, route, optimizer)
    report.left = found.left
    report.merging = read_by_methods(found.root, found.chosen)
    for name, module in found.chosen.items():
        report.put(name, module, make(module), report.converted)
    for name, module in {} if sync is None else found.rest.items():
        del report.left[name]
        report.put(name, module, rules.split(module, route, SHARABLE, sync), report.synchronized)
    keep_tied(report.pairs)
    if optimizer is not None:
        report.carry_over(optimizer)
    swap_(found.root, {id(module): site for module, site in report.pairs})
    route.watch(found.root)
    return report
