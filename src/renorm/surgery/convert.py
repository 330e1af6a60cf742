"""Converting a model's norms in place: walk, check, swap, report, undo."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from renorm.layers import Site, Sync, carry_state, check_share, repeated, row_of, sites_of
from renorm.routing import Route, check_names, shown
from renorm.surgery import rules
from renorm.surgery.optimizer import WithoutDecay, replace_parameters, snapshot

Sites = str | Iterable[str] | Callable[[str, nn.Module], bool] | None
Swap = Mapping[int, nn.Module]
Make = Callable[[nn.Module], Site]


class Conversion:
    """What a conversion did: ``converted`` sites by name with the class they had, ``left`` modules by name with the reason.

    :meth:`undo` puts the original modules and parameters back.
    """

    def __init__(self, model: nn.Module, route: Route, optimizer: Optimizer | None) -> None:
        self.branches = route.branches
        self.converted: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self._model, self._route, self._optimizer = model, route, optimizer
        self._pairs: list[tuple[nn.Module, Site]] = []
        self._added: list[dict[str, Tensor]] = []  # by site, what was not there before
        self._state: dict[nn.Parameter, dict[str, Any]] = {}
        self._beside: WithoutDecay | None = None
        self._done = False

    def undo(self, keep: str | None = None) -> None:
        """Put the original modules, parameters and optimizer entries back.

        Args:
            keep: the branch whose values the original modules get. Without it, a model whose sites have changed since the
                conversion is refused, as its training would be lost.

        Raises:
            RuntimeError: the sites have changed and ``keep`` is not given, or it was undone already.
        """
        if self._done:
            raise RuntimeError(
                "this conversion was undone already. A conversion can be undone once. Convert the model again."
            )
        sites = zip(self._pairs, self._added, strict=True)
        changed = [site.name for (original, site), added in sites if site.differs_from(original, added)]
        if changed and keep is None:
            raise RuntimeError(
                f"{len(changed)} of {len(self._pairs)} sites have changed since the conversion, {changed[0]!r} first. "
                f"Undoing needs to know which branch to keep. Use undo(keep={self.branches[0]!r}), "
                f"or renorm.fold(model, {self.branches[0]!r}) for a plain copy."
            )
        row = None if keep is None else self._route.row(keep)
        self._give_back_parameters(row)
        for original, site in self._pairs:
            _write_back(original, site, row)
        swap_(self._model, {id(site): original for original, site in self._pairs})
        unhook_(self._model)
        self._done = True

    def _give_back_parameters(self, row: int | None) -> None:
        if self._optimizer is None:
            return
        if self._beside is not None:
            self._beside.undo([own for _, site in self._pairs for _, own in site.multiplied()])
        pairs = [pair for original, site in self._pairs for pair in _parameter_pairs(original, site)]

        def resize(state: Tensor, old: nn.Parameter, new: nn.Parameter) -> Tensor:
            return row_of(state, old.numel() // new.numel(), row or 0).clone()

        replace_parameters(self._optimizer, pairs, resize)
        if row is None:
            self._optimizer.state.update(self._state)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def __repr__(self) -> str:
        names = ", ".join(self.branches) if len(self.branches) <= 8 else shown(self.branches)
        lines = [f"{len(self.converted)} sites now have the branches {names}."]
        kinds = sorted(
            {(kind, type(site).__name__) for kind, (_, site) in zip(self.converted.values(), self._pairs, strict=False)}
        )
        for kind, made in kinds:
            names = [name for name, was in self.converted.items() if was == kind]
            lines.append(f"  {kind} -> {made}: {_listed(names)}")
        lines += [f"  left alone: {name} ({reason})" for name, reason in self.left.items()]
        if self._beside is not None and self._beside.made_groups:
            lines.append("  their affines are in new groups of the optimizer, without weight decay")
        return "\n".join(lines)


def split_(
    model: nn.Module,
    branches: Sequence[str],
    *,
    share: str | Iterable[str] = (),
    sites: Sites = None,
    optimizer: Optimizer | None = None,
    sync: Sync = None,
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
        sync: pool training statistics over ranks, see :class:`SplitBatchNorm`; norms that are SyncBatchNorm keep theirs.

    Raises:
        ValueError: nothing to convert, a name that matches nothing, a model that is converted already, wrapped in DDP, or
            a norm itself, lazy norms, unknown ``share``.

    Reference: Merchant, Zoph & Cubuk, *Does data augmentation benefit from split BatchNorms*, 2020.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> renorm.split_(model, ["weak", "strong"])
        1 sites now have the branches weak, strong.
          BatchNorm2d -> SplitBatchNorm: 1
    """
    route, share = Route(check_names(branches)), check_share(share)
    whole = (
        None
        if not share and optimizer is None
        else (
            "share= or optimizer= was given. Such norms are copied whole. Exclude it by sites=, or share nothing and build the "
            "optimizer afterwards."
        )
    )

    def make(norm: nn.Module) -> Site:
        split = rules.rule_for(norm).action == "split"
        return rules.split(norm, route, share, sync) if split else rules.copies(norm, route)

    return convert_(model, route, make, sites, optimizer, whole)


def convert_(
    model: nn.Module, route: Route, make: Make, sites: Sites, optimizer: Optimizer | None, whole: str | None
) -> Conversion:
    """Put a site that ``make`` makes in the place of every chosen norm; ``whole`` says why norms cannot be copied whole."""
    root = unwrapped(model)
    chosen, left = _plan(root, sites, whole)
    report = Conversion(root, route, optimizer)
    report.left = left
    new_of: dict[int, nn.Module] = {}
    for name, module in chosen.items():
        site = make(module)
        site.name = name
        new_of[id(module)] = site
        report.converted[name] = type(module).__name__
        report._pairs.append((module, site))
        report._added.append(site.added_to(module))
    keep_tied(report._pairs)
    if optimizer is not None:
        _carry_over(report, optimizer)
    swap_(root, new_of)
    root.register_forward_pre_hook(route.begin, with_kwargs=True)
    root.register_forward_hook(route.end)
    return report


def unwrapped(model: nn.Module) -> nn.Module:
    """The module whose norms can be exchanged: what a compiled model wraps; a parallel wrapper is refused."""
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, (nn.parallel.DistributedDataParallel, nn.DataParallel)):
        raise ValueError(
            f"a model wrapped in {type(inner).__name__} was given. The wrapper has registered its parameters already. "
            f"Convert the inner model first, then wrap it."
        )
    return inner


def _plan(root: nn.Module, sites: Sites, whole: str | None) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Which modules to convert, and which norms are left and why; refuses before anything is changed."""
    found = dict(_walk(root))
    _refuse_converted(root)
    names = [name for name, (_, rule) in found.items() if rule.action in ("split", "copy", "refuse")]
    wanted = set(_selected(names, {n: m for n, (m, _) in found.items()}, sites))
    left = {n: rule.reason for n, (_, rule) in found.items() if rule.action == "leave"}
    left |= {n: "not among sites=" for n in names if n not in wanted}
    chosen = {n: found[n] for n in names if n in wanted}
    for name, (module, rule) in chosen.items():
        if rule.action == "refuse":
            raise ValueError(f"{name!r} ({type(module).__name__}) cannot be converted: {rule.reason}")
        if rule.action == "copy" and whole is not None:
            raise ValueError(f"{name!r} ({type(module).__name__}) has a class renorm does not know, and {whole}")
    if not chosen:
        raise ValueError(_nothing(root, left))
    if "" in chosen:
        raise ValueError(
            f"the model itself is a norm ({type(root).__name__}). A conversion replaces norms inside a parent. "
            f"Wrap it: nn.Sequential(norm)."
        )
    return {name: module for name, (module, _) in chosen.items()}, left


def _walk(root: nn.Module) -> Iterable[tuple[str, tuple[nn.Module, rules.Rule]]]:
    """Norms with statistics by name, outermost first; what is inside one is its own business."""
    inside: set[int] = set()
    for name, module in root.named_modules():
        if id(module) in inside:
            continue
        rule = rules.rule_for(module)
        if rule.action != "pass":
            inside |= {id(m) for m in module.modules()}
            yield name, (module, rule)


def _refuse_converted(root: nn.Module) -> None:
    for name, site in sites_of(root):
        raise ValueError(
            f"the model is converted already: {name!r} has the branches {list(site.branches)}. "
            f"A conversion needs plain norms. Add branches by renorm.add_branch_, or undo the first conversion."
        )


def _selected(names: list[str], modules: Mapping[str, nn.Module], sites: Sites) -> list[str]:
    if sites is None:
        return names
    if callable(sites):
        return [name for name in names if sites(name, modules[name])]
    chosen: list[str] = []
    for pattern in (sites,) if isinstance(sites, str) else sites:
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            close = difflib.get_close_matches(pattern, names, n=3) or names[:3]
            raise ValueError(
                f"sites={pattern!r} matches no norm of this model. It has {len(names)} of them. Close matches: {close}."
            )
        chosen += matched
    return chosen


def _nothing(root: nn.Module, left: Mapping[str, str]) -> str:
    other = sorted({type(m).__name__ for m in root.modules() if "Norm" in type(m).__name__})
    had = f"it has {', '.join(other)}" if other else "it has no normalization layer at all"
    return (
        f"{type(root).__name__} has no norm to convert: {had}"
        + (f", and left alone are {_listed(list(left))}" if left else "")
        + ". Branches need norms with statistics of the batch. Use a model with batch normalization, or widen sites=."
    )


def swap_(root: nn.Module, new_of: Swap) -> None:
    """Put new children in the place of old ones wherever a parent holds them, so that a norm used twice stays one object."""
    for parent in list(root.modules()):
        for key, child in parent._modules.items():
            if child is not None and id(child) in new_of:
                parent._modules[key] = new_of[id(child)]


def unhook_(root: nn.Module) -> None:
    """Take a route's own hooks off the root of a model."""
    for hooks in (root._forward_pre_hooks, root._forward_hooks):
        for key, hook in list(hooks.items()):
            if isinstance(getattr(hook, "__self__", None), Route):
                del hooks[key]
                root._forward_pre_hooks_with_kwargs.pop(key, None)


def keep_tied(pairs: Sequence[tuple[nn.Module, nn.Module]]) -> None:
    """Parameters that several old modules shared stay one object in the new ones."""
    made: dict[tuple[object, ...], nn.Parameter] = {}
    for old, new in pairs:
        for key, own in new._parameters.items():
            sources = _sources(old, key.removeprefix("branch_"))
            if own is not None and sources:
                new._parameters[key] = made.setdefault((key, *sources), own)


def _sources(module: nn.Module, key: str) -> tuple[int, ...]:
    """Identities of the parameters that one of a norm is, or is made from in a site; none where it has none."""
    own = module._parameters.get(key)
    if isinstance(module, Site):
        return module.sources(key)
    return () if own is None else (id(own),)


def _parameter_pairs(original: nn.Module, site: Site) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """The site's flat parameters, each with the original one it stands for."""
    own = {key: p for key, p in site._parameters.items() if p is not None and key in original._parameters}
    return [(p, original.get_parameter(key)) for key, p in own.items()]


def _carry_over(report: Conversion, optimizer: Optimizer) -> None:
    pairs = [(old, new) for original, site in report._pairs for new, old in _parameter_pairs(original, site)]
    report._state = snapshot(optimizer, [old for old, _ in pairs])
    replace_parameters(optimizer, pairs, lambda state, old, new: repeated(state, new.numel()))
    beside = [pair for _, site in report._pairs for pair in site.multiplied()]
    report._beside = WithoutDecay(optimizer, beside) if beside else None


@torch.no_grad()
def _write_back(original: nn.Module, site: Site, row: int | None) -> None:
    """Bring the original to where the site is now: its device and dtype, mode, ``requires_grad``, and a branch's values."""
    current = site.plain(row or 0)
    values = current.state_dict()
    some = next((v for v in values.values() if v.is_floating_point()), None)
    if some is not None and not some.is_meta:
        if any(t.is_meta for t in original.state_dict().values()):
            original.load_state_dict(values, assign=True)
        else:
            original.to(some.device, some.dtype)
    if row is not None:
        for key, tensor in original.state_dict(keep_vars=True).items():
            tensor.copy_(values[key])
    for key, p in original.named_parameters():
        p.requires_grad_(current.get_parameter(key).requires_grad)
    for inner, now in zip(original.modules(), current.modules(), strict=True):
        inner.training = now.training
    carry_state(site, original)


def _listed(names: list[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{names[0]}, {names[1]}, ... {names[-1]} ({len(names)})"
