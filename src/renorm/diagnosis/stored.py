"""What is the matter with the statistics and affines that a model stores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from renorm.banks import SiteTensors, hash_of
from renorm.diagnosis.finding import Finding, Gravity

MEASURE = "renorm.recalibrate_(model, [images])"
COMMAND = "renorm recalibrate MODEL --images FOLDER --bank FILE"

# gravity, what, in which sites, the sentence, the remedy and its command
CHECKS: tuple[tuple[Gravity, str, Callable[[SiteTensors], bool], str, str, str], ...] = (
    (
        "error",
        "statistics that are no numbers",
        lambda site: _broken(site.mean) or _broken(site.var) or bool((site.var < 0).any()),
        "A mean or variance is NaN, infinite or negative, as after a diverged training: every output is broken.",
        MEASURE,
        COMMAND,
    ),
    (
        "error",
        "an affine that is no number",
        lambda site: any(t is not None and _broken(t) for t in (site.weight, site.bias)),
        "A scale or bias is NaN or infinite.",
        "load a checkpoint from before the training diverged",
        "",
    ),
    (
        "warning",
        "never updated",
        lambda site: _fresh(site),
        "Mean 0 and variance 1 are what a norm starts with: no batch has reached them in training, or they were reset.",
        MEASURE,
        COMMAND,
    ),
    (
        "warning",
        "channels without variance",
        lambda site: bool((site.var == 0).any()),
        "Where a channel never varied, whatever a shift brings is multiplied by 1 / sqrt(eps), some 300.",
        MEASURE,
        COMMAND,
    ),
    (
        "warning",
        "statistics in half precision",
        lambda site: site.mean.dtype in (torch.float16, torch.bfloat16),
        "A running average in 8 or 11 bits stops moving before it has arrived.",
        "keep norms in float32 and cast the rest, or measure after casting: " + MEASURE,
        COMMAND,
    ),
    (
        "warning",
        "momentum 0",
        lambda site: _momentum(site) == 0,
        "Training does not move these statistics.",
        "norm.momentum = 0.1, if they should move",
        "",
    ),
    (
        "warning",
        "momentum 1",
        lambda site: _momentum(site) == 1,
        "They are those of the last training batch alone.",
        MEASURE,
        COMMAND,
    ),
    (
        "note",
        "momentum None",
        lambda site: hasattr(site.module, "momentum") and _momentum(site) is None,
        "They average all batches since the count began, those of early training too.",
        MEASURE,
        COMMAND,
    ),
)


def of_statistics(sites: Mapping[str, SiteTensors], branch: str | None) -> Iterator[Finding]:
    """Findings on the sites of a branch, or of a plain model."""
    where = f" Branch {branch}." if branch else ""
    given = f"[images], branch={branch!r})" if branch else "[images])"
    for gravity, what, holds, text, remedy, command in CHECKS:
        names = tuple(name for name, site in sites.items() if holds(site))
        if names:
            option = f" --branch {branch}" if branch and command else ""
            yield Finding(gravity, what, f"{text}{where}", remedy.replace("[images])", given), names, command + option)
    yield from _ranks(sites)


def _ranks(sites: Mapping[str, SiteTensors]) -> Iterator[Finding]:
    """Whether processes hold different statistics, as each moves its own."""
    if not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
        return
    hashes: list[Any] = [None] * dist.get_world_size()
    own = {name: hash_of({"mean": site.mean, "var": site.var}) for name, site in sites.items()}
    dist.all_gather_object(hashes, own)
    names = tuple(name for name in own if len({each.get(name) for each in hashes}) > 1)
    if names:
        yield Finding(
            "warning",
            "ranks diverge",
            "Each process has moved statistics of its own: what is saved is those of one.",
            "renorm.banks.pool_statistics_(model, samples), or sync= in renorm.split_",
            names,
        )


def _broken(t: Tensor) -> bool:
    return not bool(t.isfinite().all())


def _fresh(site: SiteTensors) -> bool:
    return len(site.mean) > 0 and bool((site.mean == 0).all()) and bool((site.var == 1).all())


def _momentum(site: SiteTensors) -> Any:
    return getattr(site.module, "momentum", 0.1)
