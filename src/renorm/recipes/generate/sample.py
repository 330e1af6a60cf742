"""Pictures of a trained generator: noise, labels, and the statistics they are made with."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from renorm.adapt import prediction_time
from renorm.banks import Bank, measure, using
from renorm.recipes.generate.network import calling, made_by
from renorm.recipes.generate.opened import RECALIBRATED, RUNNING, GeneratorRun
from renorm.seeds import stable_seed

BATCH, TRUNCATED, FILE = "batch", "truncated", ".safetensors"
ROWS = 128  # pictures made at once
MADE = {
    RUNNING: "the statistics that training left, of the training weights",
    RECALIBRATED: "measured for the weights on noise and balanced labels, exactly",
    BATCH: "of each {} pictures themselves, classes in turn",
    TRUNCATED: "noise beyond ±{} drawn again, and statistics measured for such noise",
}


@dataclass(frozen=True)
class Way:
    """How pictures are made.

    Args:
        name: ``running``, ``recalibrated``, ``batch:N``, ``truncated:T``, or a bank file.
        batch: Pictures that are normalized by their own statistics together; 0 uses a bank.
        limit: What no number of noise exceeds.
    """

    name: str
    batch: int = 0
    limit: float | None = None

    @property
    def made(self) -> str:
        """In words."""
        kind, _, value = self.name.partition(":")
        return MADE[kind].format(value) if kind in MADE else f"those in {self.name}"


def way_of(name: str) -> Way:
    """The way of a name.

    Raises:
        ValueError: If there is none.

    Example:
        >>> way_of("batch:64").batch, way_of("truncated:0.5").limit
        (64, 0.5)
    """
    kind, _, value = name.partition(":")
    if name in (RUNNING, RECALIBRATED):
        return Way(name)
    if kind == BATCH and value.isdecimal() and int(value) > 1:
        return Way(name, batch=int(value))
    if kind == TRUNCATED and _positive(value):
        return Way(name, limit=float(value))
    if name.endswith(FILE):
        return Way(name)
    raise ValueError(
        f"no bank {name!r}: {RUNNING}, {RECALIBRATED}, {BATCH}:N of two pictures or more, or {TRUNCATED}:T of a positive number, "
        f"or a bank file is needed. Name one, say {BATCH}:64 or {TRUNCATED}:0.7."
    )


def _positive(text: str) -> bool:
    try:
        return 0 < float(text) < math.inf
    except ValueError:
        return False


def noise(count: int, latent: int, seed: int, limit: float | None = None) -> Tensor:
    """Standard normal noise; what exceeds a limit is drawn again, not cut. Shape: ``(count, latent)``.

    Example:
        >>> noise(4, 2, 0, limit=0.5).abs().max() <= 0.5
        tensor(True)
    """
    drawn = torch.Generator().manual_seed(stable_seed(seed, "sampled noise"))
    z = torch.randn(count, latent, generator=drawn)
    while limit is not None and (beyond := z.abs() > limit).any():
        z[beyond] = torch.randn(int(beyond.sum()), generator=drawn)
    return z


def in_turn(classes: Sequence[int], count: int) -> Tensor:
    """So many labels, each class as often as others within one.

    Example:
        >>> in_turn([0, 2], 5)
        tensor([0, 2, 0, 2, 0])
    """
    return torch.tensor(list(classes)).repeat(-(-count // len(classes)))[:count]


@torch.no_grad()
def sampled(run: GeneratorRun, way: Way, labels: Tensor, seed: int = 0) -> Tensor:
    """Pictures of classes, rounded to 8 bits; the model is as it was afterwards.

    By ``batch:N`` each is normalized with others of all classes, as in training, whatever classes are asked for.

    Shape: labels ``(N,)`` to uint8 ``(N, 3, size, size)``.

    Raises:
        ValueError: If there is no such class.
    """
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < len(run.classes):
        raise ValueError(
            f"labels between {int(labels.min())} and {int(labels.max())} were given. The {len(run.classes)} classes are 0 to "
            f"{len(run.classes) - 1}. Map the labels to classes first."
        )
    z = noise(len(labels), run.config.latent, seed, way.limit)
    if way.batch:
        return _by_batch(run, way, z, labels, seed)
    with using(run.model, bank_of(run, way)):
        return torch.cat([pixels(_made(run, *part)) for part in zip(z.split(ROWS), labels.split(ROWS), strict=True)])


def _by_batch(run: GeneratorRun, way: Way, z: Tensor, labels: Tensor, seed: int) -> Tensor:
    """Each picture in the place of its class among companions of all classes, which are made anew for each batch."""
    places = [_place(labels, label, way.batch, len(run.classes)) for label in range(len(run.classes))]
    rounds = max(-(-len(where) // max(1, len(slots))) for where, slots in places)
    rest = noise(rounds * way.batch, run.config.latent, seed + 1, way.limit)
    found = torch.empty(len(labels), 3, run.model.size, run.model.size, dtype=torch.uint8)
    around = in_turn(range(len(run.classes)), way.batch)
    for number, block in enumerate(rest.split(way.batch)):
        chosen = []
        for where, slots in places:
            mine = where[number * len(slots) : (number + 1) * len(slots)]
            block[slots[: len(mine)]] = z[mine]
            chosen.append((mine, slots[: len(mine)]))
        with prediction_time(run.model):
            made = pixels(_made(run, block, around))
        for mine, slots in chosen:
            found[mine] = made[slots]
    return found


def _place(labels: Tensor, label: int, batch: int, num_classes: int) -> tuple[Tensor, Tensor]:
    """Which pictures are of a class, and the places that it has in a batch."""
    if batch < num_classes and (labels == label).any():
        raise ValueError(
            f"{BATCH}:{batch} with {num_classes} classes: a batch holds each of them, as in training. Make it {BATCH}:"
            f"{num_classes} or larger."
        )
    return (labels == label).nonzero()[:, 0], torch.arange(label, batch, num_classes)


def bank_of(run: GeneratorRun, way: Way) -> Bank:
    """The statistics of a way: those of the checkpoint, of a file, or measured on as many pictures as the run was measured on."""
    if way.name in run.stored:
        return run.stored[way.name]
    if way.name.endswith(FILE):
        return Bank.load(way.name).check_complete()
    return measured(
        run, max(run.config.measured, 2 * len(run.classes)), stable_seed(run.config.seed, "measuring"), way.limit
    )


def measured(run: GeneratorRun, count: int, seed: int = 0, limit: float | None = None) -> Bank:
    """Statistics of pictures of all classes in turn, each batch under its labels.

    Raises:
        ValueError: If there are fewer than two pictures of a class.
    """
    if count < 2 * len(run.classes):
        raise ValueError(
            f"statistics of {count} pictures of {len(run.classes)} classes: two of each class at least are needed. Measure on "
            f"more: --num-images."
        )
    z = noise(count, run.config.latent, seed, limit).to(run.device)
    labels = in_turn(range(len(run.classes)), count).to(run.device)
    size = max(2, run.config.generated)
    batches = [part for part in zip(z.split(size), labels.split(size), strict=True) if len(part[0]) > 1]
    within = f" within ±{limit:g}" if limit else ""
    return measure(run.model, batches, data=f"{count:,} pictures of noise{within}, seed {seed}", **calling(run.model))


def pixels(pictures: Tensor) -> Tensor:
    """Pictures in -1..1 as uint8, on the CPU."""
    return ((pictures.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu()


def _made(run: GeneratorRun, z: Tensor, labels: Tensor) -> Tensor:
    return made_by(run.model, z.to(run.device), labels.to(run.device))
