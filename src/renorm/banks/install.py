"""Putting a bank into a model, for good or for a while."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from renorm.banks.bank import Bank
from renorm.banks.hold import exclusive
from renorm.banks.sites import Branch, SiteTensors, fingerprint, resolve, site_tensors
from renorm.banks.statistics import Statistics, check_finite


class Installation:
    """What was written into a model; ``undo()`` writes the former values back.

    Attributes:
        unreached: sites that keep what they had, bit for bit, as nothing has reached them, or a single value per channel.
        single: those of them that saw a single value.
    """

    single: tuple[str, ...] = ()

    def __init__(self, model: nn.Module, branch: Branch, what: str = "", unreached: tuple[str, ...] = ()) -> None:
        self._model, self._branch, self._what, self.unreached = model, branch, what, unreached
        self._saved: list[tuple[Tensor, Tensor, Tensor]] = []  # where, what was there, what was written

    def write(self, target: Tensor, value: Tensor) -> None:
        """Fill a tensor in place, remembering what it held: compiled graphs and views keep working."""
        value = value.to(target)
        self._saved.append((target, target.detach().clone(), value))
        with torch.no_grad():
            target.copy_(value)

    def undo(self) -> None:
        """Write the former values back, bit for bit. A second call does nothing more.

        Raises:
            RuntimeError: the statistics are no longer those written (a later change stands on them, or training moved them),
                or no longer where they were (the model was moved to another device, or got a branch), or another thread
                measures the model at the time.
        """
        with exclusive(self._model):
            self._undo()

    def _undo(self) -> None:
        if self._saved and not {_memory(target) for target, _, _ in self._saved} <= self._memories():
            raise RuntimeError(
                f"the model's tensors were replaced since: {self!r}. Undoing writes where the statistics were, and that is no "
                f"longer in the model. Undo before moving the model to another device or adding branches."
            )
        written = {id(target): (target, value) for target, _, value in self._saved}
        if not all(torch.equal(target, value) for target, value in written.values()):
            raise RuntimeError(
                f"the statistics have changed since: {self!r}. Undoing would lose that change, or bring it back later. "
                f"Undo the later change first, or install the bank you want by renorm.install_."
            )
        self.give_back()

    def _memories(self) -> set[int]:
        modules = [site.module for site in site_tensors(self._model, self._branch).values()]
        tensors = [t for m in modules for t in (*m._parameters.values(), *m._buffers.values())]
        return {_memory(t) for t in tensors if t is not None}

    def give_back(self) -> None:
        """:meth:`undo`, whatever has happened to the statistics since."""
        with torch.no_grad():
            for target, former, _ in reversed(self._saved):
                target.copy_(former)
        self._saved = []

    def __repr__(self) -> str:
        return self._what


def install_(model: nn.Module, bank: Bank, branch: Branch = None, *, strict: bool = True) -> Installation:
    """Give a branch of a model the statistics of a bank (and its affine, where the bank has one), in place.

    Sites that nothing reached when the bank was measured keep what they have; the result lists them as ``unreached``.

    Args:
        branch: whose statistics to replace: by default the active route's, else the only one.
        strict: refuse a bank that was saved for a model with other weights.

    Raises:
        ValueError: other sites or shapes, broken numbers, other weights. Nothing is changed then.
        RuntimeError: another thread measures the model or changes its statistics at the time.
    """
    branch = resolve(model, branch)
    targets = site_tensors(model, branch)
    with exclusive(model):
        _check(model, bank, targets, strict)
        what = f"{bank!r} installed" + (f" as branch {branch!r}" if branch else "")
        report = Installation(model, branch, what, tuple(name for name in targets if name not in bank.sites))
        report.single = bank.single
        for own, value in [pair for name, given in bank.sites.items() for pair in _writes(targets[name], given)]:
            report.write(own, value)
    return report


@contextmanager
def using(model: nn.Module, bank: Bank, branch: Branch = None, *, strict: bool = True) -> Iterator[None]:
    """Borrow a bank for the block, as by :func:`install_`, and give the former statistics back at its end.

    Every thread that calls the model meanwhile normalizes by the bank; one that would measure or change it is refused.
    """
    with exclusive(model):
        installed = install_(model, bank, branch, strict=strict)
        try:
            yield
        finally:
            installed.give_back()


def _pairs(site: SiteTensors, given: Statistics) -> list[tuple[Tensor | None, Tensor]]:
    """The tensors of a site, each with the value a bank has for it."""
    own, values = (site.mean, site.var, site.weight, site.bias), (given.mean, given.var, given.weight, given.bias)
    return [(tensor, value) for tensor, value in zip(own, values, strict=True) if value is not None]


def _writes(site: SiteTensors, given: Statistics) -> list[tuple[Tensor, Tensor]]:
    """Where to write what, for a site to use what a bank has for it."""
    return [(site.mean, given.mean), (site.var, given.var), *site.writes(given.weight, given.bias)]


def _described(site: SiteTensors | Statistics) -> str:
    return f"{len(site.mean)} channels" + (" and no affine" if site.weight is None and site.bias is None else "")


def _check(model: nn.Module, bank: Bank, targets: dict[str, SiteTensors], strict: bool) -> None:
    known = {*bank.sites, *bank.unreached}
    missing, unexpected = sorted(targets.keys() - known), sorted(known - targets.keys())
    if missing or unexpected:
        close = difflib.get_close_matches(missing[0], unexpected, n=1) if missing else []
        raise ValueError(
            f"the bank has {len(bank.sites)} sites and the model {len(targets)}; missing {missing[:3]}, unexpected "
            f"{unexpected[:3]}. A bank fits one architecture. "
            + (f"Was {close[0]!r} renamed to {missing[0]!r}?" if close else "Measure it again on this model.")
        )
    for name, given in bank.sites.items():
        site = targets[name]
        if any(own is None or own.shape != value.shape for own, value in _pairs(site, given)):
            raise ValueError(
                f"site {name!r} of the bank has {_described(given)}, the model's {_described(site)}. "
                f"A bank fits one architecture. Measure it again on this model."
            )
        check_finite(name, given)
    if strict and bank.weights is not None and fingerprint(model) not in (None, bank.weights):
        raise ValueError(
            "the bank was measured on a model with other weights. Its statistics would not fit these features. "
            "Load the weights it belongs to, measure it again, or pass strict=False."
        )


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
