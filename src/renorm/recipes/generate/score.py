"""The table of a generator: each bank by what its pictures are worth, beside real images that are compared with real ones."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from renorm import metrics
from renorm.data import Images, load, sample, splits_of
from renorm.evaluate import ImageSet, Measured, MeasuredTable, Protocol, fingerprint, versions
from renorm.files import write_atomically
from renorm.recipes.asked import Evaluation
from renorm.recipes.generate.config import Config
from renorm.recipes.generate.features import OWN, Looked, Space, space_of
from renorm.recipes.generate.opened import RECALIBRATED, RUNNING, GeneratorRun
from renorm.recipes.generate.sample import in_turn, sampled, way_of
from renorm.recipes.generate.sheets import by_class, png, sheet_of

REAL, GENERATED = "real", "generated"
USUAL_IMAGES, FEWEST = 2000, 20
USUAL = (REAL, RECALIBRATED, RUNNING, "batch:64", "truncated:1")
FLOOR = "other real images: how small the numbers can be expected to become"


class RealImages(NamedTuple):
    """Images to compare with, and others like them; none in both."""

    reference: Images
    others: Images


def prepare(run: GeneratorRun, asked: Evaluation, *, model: str = "", command: str = "") -> MeasuredTable:
    """The table of some banks, or of the usual ones.

    Raises:
        ValueError: If there is no such bank or network, or too few images.
    """
    names = asked.banks or _usual(run)
    ways = {name: way_of(name) for name in names if name != REAL}
    real = real_images(run, asked.num_images or USUAL_IMAGES, asked.seed)
    space = space_of(run, asked.features or OWN)
    count = len(real.reference)
    made = {name: ways[name].made if name in ways else FLOOR for name in names}
    protocol = Protocol(
        data=ImageSet.of(real.reference),
        classes=len(run.classes),
        seed=asked.seed,
        model=model,
        training=in_words(run.config),
        weights=fingerprint(run.model),
        banks=made,
        versions=versions(run.device),
        command=command,
    )
    note = f"{count:,} pictures of each bank, classes in turn, and as many of {real.reference.name}; {space.name}"
    reference = space(real.reference.batch(range(count))[0])
    labels = in_turn(range(len(run.classes)), count)

    def measured(bank: str) -> dict[str, Measured]:
        if bank == REAL:
            pixels, own = real.others.batch(range(count))
        else:
            pixels, own = sampled(run, ways[bank], labels, asked.seed), labels
            write_atomically(sheet_of(run.path, bank), png(by_class(pixels, labels)))
        return numbers(space, reference, space(pixels), own, asked.seed)

    return MeasuredTable(protocol, measured, GENERATED, notes=[note])


def _usual(run: GeneratorRun) -> tuple[str, ...]:
    """The usual banks, where a batch holds all classes."""
    return tuple(f"batch:{max(64, len(run.classes))}" if name.startswith("batch") else name for name in USUAL)


def real_images(run: GeneratorRun, count: int, seed: int) -> RealImages:
    """Training images, and images of the test; of data without splits two parts. As many of each as there are, or as asked for.

    Raises:
        ValueError: If there are too few.
    """
    source, size = run.config.data, run.model.size
    if splits_of(source):
        train, test = (load(source, split, size=size) for split in ("train", "test"))
        count = min(count, len(train), len(test))
        _check(count, source)
        return RealImages(sample(train, count, seed), sample(test, count, seed))
    whole = load(source, size=size)
    count = min(count, len(whole) // 2)
    _check(count, source)
    both = sample(whole, 2 * count, seed)
    return RealImages(both.subset(range(count)), both.subset(range(count, 2 * count)))


def _check(count: int, source: str) -> None:
    if count < FEWEST:
        raise ValueError(
            f"{count} images of {source} on each side: {FEWEST} or more are needed, of those trained on and of others. Evaluate "
            "on more: --num-images, or larger data."
        )


def numbers(space: Space, real: Looked, made: Looked, labels: Tensor, seed: int = 0) -> dict[str, Measured]:
    """What pictures are worth beside as many real images; the space and their number are part of each name."""
    count = len(made.features)
    where = f"[{space.name}, n={count:,}]"
    values = kid_values(real.features, made.features)
    found = {f"KID{where}": _mean(values, seed)}
    if space.agrees:
        found[f"agreement{where}"] = _mean((made.logits.argmax(1) == labels).double(), seed)
    found[f"Frechet{where}"] = Measured(metrics.frechet(real.features, made.features), count)
    near = metrics.neighbours(real.features, made.features)._asdict()
    found |= {f"{name}{where}": Measured(value, count) for name, value in near.items()}
    return found | {f"IS{where}": Measured(metrics.inception_score(made.logits), count)}


def kid_values(real: Tensor, made: Tensor) -> Tensor:
    """What each picture, with the real image of its place, adds to the KID: their mean is the KID, their spread its own."""
    a, b = metrics.kid_parts(real, made)
    return 2 * (a + b) - (a + b).mean()


def _mean(values: Tensor, seed: int) -> Measured:
    found = metrics.bootstrap([values], seed)
    return Measured(found.value, len(values), found.low, found.high, values)


def in_words(config: Config) -> str:
    """How a generator was trained."""
    faster = f", tables at {config.table_factor:g} times the rate" if config.table_factor != 1 else ""
    return f"{config.model}, {config.norm} norms{faster}, {config.steps:,} steps, seed {config.seed}"
