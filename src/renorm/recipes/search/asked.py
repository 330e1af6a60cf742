"""What a ranking of cells is asked for; without torch, so that the command line shows its options at once."""

from __future__ import annotations

from dataclasses import dataclass

TRAINED, RECALIBRATED, BATCH, PARAMETERS, TABLE = "trained", "recalibrated", "batch", "parameters", "table"
USUAL_IMAGES, USUAL_JUDGED = 1024, 2000  # that a path is measured on, and judged on


@dataclass(frozen=True)
class RankOptions:
    """How cells are ranked.

    Args:
        banks: What cells are evaluated by: trained, the running statistics that training left, of a cell's conditions where norms
            have some; recalibrated:N, measured on N training images through its own path; batch, those of the judged images
            themselves, which sees other images to predict; parameters, how many a cell has; table, the truth. By default all,
            with recalibrated:1024, or all of fewer images; several N show how many images it needs.
        num_cells: How many, drawn with the seed from those that connect their input to their output.
        num_images: Judge on so many test images, drawn with the seed; 0 for all; by default 2,000, or all where there are fewer.
        table: File with the benchmark's accuracies; by default the run's.
        column: Which of its data sets: cifar10, cifar100 or imagenet16-120; by default the run's.
        seed: Of the draws and the intervals.
    """

    banks: tuple[str, ...] = ()
    num_cells: int = 100
    num_images: int | None = None
    table: str | None = None
    column: str | None = None
    seed: int = 0
