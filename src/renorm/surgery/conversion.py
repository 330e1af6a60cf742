"""What a conversion did, and how it is undone."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from renorm.layers import Site, carry_state, repeated, row_of
from renorm.routing import Route, shown
from renorm.surgery.optimizer import WithoutDecay, replace_parameters, snapshot
from renorm.surgery.plan import listed
from renorm.surgery.swap import swap_, unhook_


class Conversion:
    """What a conversion did; :meth:`undo` puts the original modules and parameters back.

    Attributes:
        converted: sites by name, with the class they had.
        synchronized: norms that only pool their statistics over ranks now, which all branches share; likewise.
        left: norms by name, with the reason.
        merging: classes that read a norm's tensors in a method of theirs, as to merge it into a convolution; :func:`renorm.fold`
            a branch before these are called.
        pairs: the original modules, each with what took its place.
    """

    def __init__(self, model: nn.Module, route: Route, optimizer: Optimizer | None) -> None:
        self.branches = route.branches
        self.converted: dict[str, str] = {}
        self.synchronized: dict[str, str] = {}
        self.left: dict[str, str] = {}
        self.merging: list[str] = []
        self._model, self._route, self._optimizer = model, route, optimizer
        self.pairs: list[tuple[nn.Module, Site]] = []
        self._added: list[dict[str, Tensor]] = []  # by site, what was not there before
        self._state: dict[nn.Parameter, dict[str, Any]] = {}
        self._beside: WithoutDecay | None = None
        self._done = False

    def put(self, name: str, original: nn.Module, site: Site, among: dict[str, str]) -> None:
        """Note that a site is to take the place of a norm."""
        site.name, among[name] = name, type(original).__name__
        self.pairs.append((original, site))
        self._added.append(site.added_to(original))

    def carry_over(self, optimizer: Optimizer) -> None:
        """Give an optimizer the parameters of the sites, with the state of those they are made of."""
        pairs = [(old, new) for original, site in self.pairs for new, old in _parameter_pairs(original, site)]
        self._state = snapshot(optimizer, [old for old, _ in pairs])
        replace_parameters(optimizer, pairs, lambda state, old, new: repeated(state, new.numel()))
        beside = [pair for _, site in self.pairs for pair in site.multiplied()]
        self._beside = WithoutDecay(optimizer, beside) if beside else None

    @torch.inference_mode(False)
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
        sites = zip(self.pairs, self._added, strict=True)
        changed = [site.name for (original, site), added in sites if site.differs_from(original, added)]
        if changed and keep is None:
            raise RuntimeError(
                f"{len(changed)} of {len(self.pairs)} sites have changed since the conversion, {changed[0]!r} first. "
                f"Undoing needs to know which branch to keep. Use undo(keep={self.branches[0]!r}), "
                f"or renorm.fold(model, {self.branches[0]!r}) for a plain copy."
            )
        row = None if keep is None else self._route.row(keep)
        self._give_back_parameters(row)
        for original, site in self.pairs:
            _write_back(original, site, row)
        swap_(self._model, {id(site): original for original, site in self.pairs})
        unhook_(self._model)
        self._done = True

    def _give_back_parameters(self, row: int | None) -> None:
        if self._optimizer is None:
            return
        if self._beside is not None:
            self._beside.undo([own for _, site in self.pairs for _, own in site.multiplied()])
        pairs = [pair for original, site in self.pairs for pair in _parameter_pairs(original, site)]

        def resize(state: Tensor, old: nn.Parameter, new: nn.Parameter) -> Tensor:
            return row_of(state, old.numel() // new.numel(), row or 0).clone()

        replace_parameters(self._optimizer, pairs, resize)
        if row is None:
            self._optimizer.state.update(self._state)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def __repr__(self) -> str:
        names = ", ".join(self.branches) if len(self.branches) <= 8 else shown(self.branches)
        lines = [f"{len(self.converted)} sites now have the branches {names}."]
        kinds = sorted(
            {(kind, type(site).__name__) for kind, (_, site) in zip(self.converted.values(), self.pairs, strict=False)}
        )
        for kind, made in kinds:
            names = [name for name, was in self.converted.items() if was == kind]
            lines.append(f"  {kind} -> {made}: {listed(names)}")
        if self.synchronized:
            lines.append(f"  statistics pooled over ranks, no branches: {listed(list(self.synchronized))}")
        lines += [f"  left alone: {name} ({reason})" for name, reason in self.left.items()]
        if self.merging:
            lines.append(f"  fold a branch before {listed(self.merging)} merge norms into other layers")
        if self._beside is not None and self._beside.made_groups:
            lines.append("  their affines are in new groups of the optimizer, without weight decay")
        return "\n".join(lines)


def _parameter_pairs(original: nn.Module, site: Site) -> list[tuple[nn.Parameter, nn.Parameter]]:
    """The site's flat parameters, each with the original one it stands for."""
    own = {key: p for key, p in site._parameters.items() if p is not None and key in original._parameters}
    return [(p, original.get_parameter(key)) for key, p in own.items()]


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
