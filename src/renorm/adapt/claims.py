"""What a model holds at its sites: read, written and compared."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from renorm.adapt.step import Source
from renorm.banks import Branch, SiteTensors, Statistics, site_tensors, unwrap


def values(targets: Mapping[str, SiteTensors]) -> dict[str, Statistics]:
    """What a model has now, as copies."""
    return {name: Statistics(site.mean.clone(), site.var.clone()) for name, site in targets.items()}


def fill(targets: Mapping[str, SiteTensors], given: Mapping[str, Statistics | Source]) -> None:
    """Write statistics into a model, in place."""
    with torch.no_grad():
        for name, site in targets.items():
            site.mean.copy_(given[name].mean)
            site.var.copy_(given[name].var)


def same(a: Statistics, b: Statistics) -> bool:
    """Whether two are alike bit for bit, on whatever devices."""
    return torch.equal(a.mean, b.mean.to(a.mean.device)) and torch.equal(a.var, b.var.to(a.var.device))


@dataclass(eq=False)
class Claim:
    """The statistics of a model that somebody moves: which, as they were, and as they were left last.

    Args:
        owner: who moves them, gone where it was dropped.
        branch: whose they are.
        source: what the owner started from.
        installed: what the owner wrote last.
    """

    owner: weakref.ref[object]
    branch: Branch
    source: Mapping[str, Source]
    installed: Mapping[str, Statistics]

    def found(self, model: nn.Module) -> dict[str, SiteTensors]:
        """The sites, none where the model has lost the branch."""
        try:
            return site_tensors(model, self.branch)
        except ValueError:
            return {}

    def left(self, targets: Mapping[str, SiteTensors]) -> bool:
        """Whether a model has just what the owner wrote last."""
        now = values(targets)
        return now.keys() == self.installed.keys() and all(same(now[name], self.installed[name]) for name in now)


_CLAIMS: weakref.WeakKeyDictionary[nn.Module, list[Claim]] = weakref.WeakKeyDictionary()


def claim(model: nn.Module, branch: Branch, owner: object) -> Claim:
    """Start to move a branch's statistics. What an owner that was dropped unclosed had written is taken back first.

    Raises:
        RuntimeError: another owner moves the same statistics: each would take what the other wrote for the source.
    """
    targets, claims = site_tensors(model, branch), _CLAIMS.setdefault(unwrap(model), [])
    mine = {site.mean.data_ptr() for site in targets.values()}
    for other in list(claims):
        theirs, holder = other.found(model), other.owner()
        if not mine & {site.mean.data_ptr() for site in theirs.values()}:
            continue
        if holder is not None:
            raise RuntimeError(
                f"the model has an open adapter already: {holder!r}. Two of the same statistics would take each other's "
                f"for the source. Close that one first, or copy the model by copy.deepcopy."
            )
        if other.left(theirs):
            fill(theirs, other.source)
        claims.remove(other)
    source = {
        name: Source(site.mean.clone(), site.var.clone(), float(getattr(site.module, "eps", 1e-5)))
        for name, site in targets.items()
    }
    claims.append(Claim(weakref.ref(owner), branch, source, values(targets)))
    return claims[-1]


@contextmanager
def noted(error: BaseException | None) -> Iterator[None]:
    """Let a refusal in the block be a note of the error that is on its way already, and not hide it."""
    try:
        yield
    except RuntimeError as refusal:
        if error is None:
            raise
        error.add_note(str(refusal))


def release(model: nn.Module, claimed: Claim) -> None:
    """Move the statistics no longer."""
    _CLAIMS[unwrap(model)].remove(claimed)
