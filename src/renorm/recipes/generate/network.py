"""The generator of a configuration, whose classes are branches, and how it is called on noise and labels."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from renorm.layers import sites_of
from renorm.models import Generator
from renorm.recipes.generate.config import Config
from renorm.routing import route
from renorm.seeds import stable_seed
from renorm.surgery import sandwich_, split_

Call = Callable[[Tensor], Tensor]
TABLES = "tables"  # the classes' own affines


def converted(plain: Generator, classes: list[str], config: Config) -> Generator:
    """A generator whose blocks know classes, as the configuration has it; its other weights are as they were.

    Where norms are to use the pictures of all processes, those that know no classes become sites too.
    """
    drawn = torch.Generator().manual_seed(stable_seed(config.seed, TABLES))
    sync = "world" if config.sync_bn else None
    options: Any = {"sites": plain.sites, "init": "published", "generator": drawn, "sync": sync}
    if config.norm == "sandwich":
        sandwich_(plain, classes, **options)
    elif config.norm == "conditional":
        split_(plain, classes, share="statistics", **options)
    elif sync:
        split_(plain, classes, share=("statistics", "affine"), sync=sync)
    return plain


def made_by(model: nn.Module, z: Tensor, labels: Tensor, call: Call | None = None) -> Tensor:
    """Pictures of classes; those of a generator without classes have none.

    Args:
        model: The generator.
        z: Noise.
        labels: Of each picture.
        call: The same in another form, say compiled.
    """
    with route(model, labels, check=False) if any(True for _ in sites_of(model)) else nullcontext():
        return (model if call is None else call)(z)


def calling(model: nn.Module) -> dict[str, Any]:
    """How measuring calls a generator on noise with labels."""
    forward: Any = lambda net, batch: net(batch[0])  # noqa: E731
    by_label: Any = (lambda batch: batch[1]) if any(True for _ in sites_of(model)) else None
    return {"forward": forward, "route": by_label}
