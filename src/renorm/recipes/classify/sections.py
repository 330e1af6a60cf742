"""What the page of a classifier's run shows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from renorm.data import Images, View
from renorm.recipes.classify.config import Config
from renorm.recipes.flat import read_config
from renorm.report import Head, Record, Section, adapting, finding
from renorm.report.sections import examples, run


def head(record: Record) -> Head:
    """The beginning of the page."""
    config, results = record.config, record.results
    branches = " and ".join(config.get("branches", ()))
    lead = (
        f"{config.get('epochs')} epochs with {config.get('norm')} normalization on {branches} views, seed {record.seed}"
    )
    title = f"{config.get('model', 'model')} on {config.get('data', 'data')}"
    return Head(title, lead, [each for each in (finding(results), adapting(results)) if each], run.cards(record))


def pictured(record: Record) -> Section:
    """Images under every view and shift."""
    config = read_config(Config, record.about)

    def views(images: Images) -> Callable[[str], View]:
        shown, size = config.on(images.name), images[0][0].shape[-1]
        return lambda name: shown.view(name, size)

    return examples.examples(record, views)


SECTIONS: Sequence[Callable[[Record], Section | None]] = (
    run.table,
    run.adapted,
    run.trade_off,
    run.training,
    run.distances,
    pictured,
)


def show(record: Record) -> tuple[Head, list[Section]]:
    """The head of the page, and the sections that there are."""
    return head(record), [section for each in SECTIONS if (section := each(record))]
