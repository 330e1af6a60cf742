"""One class of a trained generator as a plain network, and as a program."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from renorm.banks import using
from renorm.export import PICTURES, write
from renorm.recipes.asked import Exporting
from renorm.recipes.generate.opened import RECALIBRATED, GeneratorRun
from renorm.recipes.generate.sample import Way, bank_of, noise, way_of
from renorm.recipes.kind import ExportedRun
from renorm.surgery import fold

PROBE = 4  # rows that a program is compared on


def folded(run: GeneratorRun, name: str | None, way: Way) -> nn.Module:
    """A plain generator of a class, with the statistics of a way.

    Raises:
        ValueError: If there is no such class, none is named where there are some, or the way has no statistics of its own.
    """
    if way.batch:
        raise ValueError(
            f"--bank {way.name}: a plain generator has statistics, and these are of whatever is made with a picture. Name "
            f"another bank, say {RECALIBRATED}."
        )
    if run.known and name is None:
        raise ValueError(
            f"no class given: a plain generator makes one, of {', '.join(run.classes)}. Name it: --branch {run.classes[0]}."
        )
    if name is not None:
        run.numbers((name,))
    with using(run.model, bank_of(run, way)):
        if not run.known or name is None:
            return copy.deepcopy(run.model)
        return fold(run.model, name, probe=noise(PROBE, run.config.latent, 0).to(run.device))


def export(run: GeneratorRun, asked: Exporting, path: Path, about: Mapping[str, Any]) -> ExportedRun:
    """Write a class as a program that takes noise.

    Raises:
        ValueError: As :func:`folded`.
    """
    way = way_of(asked.bank or RECALIBRATED)
    plain = folded(run, asked.branch, way)
    described = {**about, "class": asked.branch or "", "bank": way.name, "made": way.made}
    file = write(plain, path, noise(PROBE, run.config.latent, 0), about=described, signature=PICTURES)
    size, within = run.model.size, f", within ±{way.limit:g}" if way.limit else ""
    shapes = {"noise": ["batch", run.config.latent], "pictures": ["batch", 3, size, size]}
    words = (
        f"float32 noise (batch, {run.config.latent}) of a standard normal distribution{within}; pictures are in -1 to 1"
    )
    return ExportedRun(file, words, shapes)
