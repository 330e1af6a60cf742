"""A bank: what every site of a model uses for one branch, as a value and as a file."""

from __future__ import annotations

import json
import weakref
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from renorm.banks.observe import without
from renorm.banks.sites import Branch, fingerprint, named_sites, of_other_kinds, resolve, site_tensors, versions
from renorm.banks.statistics import Statistics, check_finite, distance
from renorm.files import write_atomically

FORMAT = "renorm.bank/1"


@dataclass(frozen=True, eq=False)
class Bank:
    """The statistics of all sites for one branch.

    Args:
        sites: by name, those of the unwrapped model.
        samples: how many images they were measured on, ``None`` when unknown.
        branch: whose affine they were measured through, or whose they are; of each site, where it is a mapping of patterns of
            names; ``None`` for a plain model, or for what all branches share.
        data: what they were measured on, in words.
        weights: hash of the model's other weights, known for a bank that was loaded.
        unreached: sites of the model that the bank lacks, as nothing reached them when it was measured, or a single value did.
        single: those of them that saw a single value per channel.
        others: norms of the model whose statistics are no mean and variance, which no bank holds.
        reference: how far images of the normal condition are from the source, as :class:`renorm.Reference` describes it.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4))
        >>> renorm.Bank.of(model)
        Bank of 1 site, samples unknown
    """

    sites: dict[str, Statistics]
    samples: int | None = None
    branch: Branch = None
    data: str | None = None
    weights: str | None = None
    unreached: tuple[str, ...] = ()
    single: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    reference: Mapping[str, Any] | None = field(default=None, repr=False)
    _model: weakref.ref[nn.Module] | None = field(default=None, repr=False)
    _version: int = field(default=0, repr=False)

    @classmethod
    def of(cls, model: nn.Module, branch: Branch = None, *, affine: bool = False) -> Bank:
        """The bank a model has now, as copies.

        Args:
            branch: whose: by default the active route's, else the only one, else what all branches share. A mapping from patterns
                of site names, ``{"layer1.*": "weak", "*": "strong"}``, names one for each site.
            affine: include the branch's scale and bias.
        """
        branch = resolve(model, branch)
        if affine and branch is None and named_sites(model):
            raise ValueError(
                "affine=True was given without a branch, for a model whose branches share their statistics. An affine is that of "
                "one branch. Name it by branch=, or leave affine out."
            )
        sites = {}
        for name, site in site_tensors(model, branch).items():
            own = (site.weight, site.bias) if affine else (None, None)
            weight, bias = (None if t is None else t.detach().clone() for t in own)
            sites[name] = Statistics(site.mean.clone(), site.var.clone(), None, weight, bias)
        return cls(sites, branch=branch).from_model(model)

    def from_model(self, model: nn.Module) -> Bank:
        """The same bank, remembering the model it fits, whose other weights are hashed when it is saved."""
        return replace(self, others=of_other_kinds(model), _model=weakref.ref(model), _version=versions(model))

    def to(self, device: torch.device | str) -> Bank:
        """The bank on a device."""

        def moved(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.to(device)

        sites = {
            name: Statistics(s.mean.to(device), s.var.to(device), s.count, moved(s.weight), moved(s.bias))
            for name, s in self.sites.items()
        }
        return replace(self, sites=sites)

    def distance(self, other: Bank) -> dict[str, float]:
        r"""How far another bank is from this one, per site, in standard deviations of this one.

        .. math:: \sqrt{\operatorname{mean}_c \frac{(\mu_a - \mu_b)^2 + (\sigma_a - \sigma_b)^2}{\sigma_a^2}}

        Sites that one of them lacks, as nothing reached them, have none.
        """
        check_same_sites(self, other)
        return {name: distance(a, other.sites[name]) for name, a in self.sites.items() if name in other.sites}

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the bank as a safetensors file, with a hash of the model's other weights while that model exists.

        Raises:
            ValueError: numbers that are not finite, or those weights have changed since the bank was made.
            OSError: the file cannot be written; a former one is kept.
        """
        tensors = {}
        for name, s in self.sites.items():
            check_finite(name, s)
            parts = {"mean": s.mean, "var": s.var, "weight": s.weight, "bias": s.bias}
            if s.count is not None:
                parts["count"] = torch.tensor(s.count, dtype=torch.int64)
            tensors |= {f"{name}.{key}": t.detach().cpu().contiguous() for key, t in parts.items() if t is not None}
        about = {
            "samples": self.samples,
            "branch": self.branch,
            "data": self.data,
            "weights": self.weights or self._fingerprint(),
            "unreached": list(self.unreached),
            "single": list(self.single),
            "others": list(self.others),
            "reference": self.reference,
            "torch": torch.__version__,
        }
        metadata = {"format": FORMAT, "renorm": json.dumps(about)}
        return write_atomically(path, safetensors.torch.save(tensors, metadata))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Bank:
        """Read a bank.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a bank, truncated, or with broken numbers.
        """
        tensors, about = _read(Path(path))
        sites: dict[str, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            name, _, part = key.rpartition(".")
            sites.setdefault(name, {})[part] = tensor
        made = {name: _statistics(Path(path), name, parts) for name, parts in sites.items()}
        known: Any = (about.get(key) for key in ("samples", "branch", "data", "weights"))
        lost: Any = {key: tuple(about.get(key, ())) for key in ("unreached", "single", "others")}
        return cls(made, *known, **lost, reference=about.get("reference"))

    def check_complete(self) -> Bank:
        """The bank itself, where it has every site of its model.

        Raises:
            ValueError: nothing reached some when it was measured.
        """
        if self.unreached:
            raise ValueError(
                f"the bank lacks {len(self.unreached)} sites that nothing reached when it was measured, {self.unreached[0]!r} "
                f"first. A model to fold or to export needs all. Measure a bank by forwards that reach them."
            )
        return self

    def _fingerprint(self) -> str | None:
        model = self._model() if self._model is not None else None
        if model is None:
            return None
        if versions(model) != self._version:
            raise ValueError(
                "the model's weights have changed since this bank was made. A saved bank must fit its model. "
                "Measure it again: renorm.measure(model, batches)."
            )
        return fingerprint(model)

    def __repr__(self) -> str:
        sites = f"{len(self.sites)} site{'s' if len(self.sites) != 1 else ''}"
        through = (
            f" of branch {self.branch!r}"
            if isinstance(self.branch, str)
            else f" of {self.branch}"
            if self.branch
            else ""
        )
        samples = "samples unknown" if self.samples is None else f"{self.samples} samples"
        return f"Bank{through} of {sites}, {samples}{without(self.unreached, self.single, others=self.others)}" + (
            f", {self.data}" if self.data else ""
        )

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_model": None, "weights": self.weights or self._fingerprint()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict]:
    if not path.is_file():
        raise FileNotFoundError(f"no bank at {path}. A bank is a file made by Bank.save. Check the path.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        about = json.loads(metadata.get("renorm", "{}"))
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise ValueError(
            f"{path} cannot be read as a bank: {error}. It may be truncated. Save the bank again."
        ) from error
    if metadata.get("format") != FORMAT:
        raise ValueError(
            f"{path} is a safetensors file but not a bank. A bank says format={FORMAT!r} in its metadata. "
            f"For a model's weights use renorm.models.load_weights."
        )
    return tensors, about


def _statistics(path: Path, name: str, parts: dict[str, Tensor]) -> Statistics:
    if not {"mean", "var"} <= parts.keys():
        raise ValueError(f"{path} lacks the mean or variance of site {name!r}. A bank has both. Save the bank again.")
    count = int(parts["count"]) if "count" in parts else None
    made = Statistics(parts["mean"], parts["var"], count, parts.get("weight"), parts.get("bias"))
    check_finite(name, made)
    return made


def check_same_sites(a: Bank, b: Bank) -> None:
    """Refuse banks of two models."""
    names, others = ({*bank.sites, *bank.unreached} for bank in (a, b))
    if names != others:
        apart = sorted(names ^ others)
        raise ValueError(
            f"two banks of {len(a.sites)} and {len(b.sites)} sites were given that differ in {apart[:3]}. "
            f"They must be of one model. Measure both on it."
        )
