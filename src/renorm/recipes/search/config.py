"""What a search of cells can be asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from renorm.recipes.options import option

SearchMethod = Literal["darts", "darts-second", "paths"]
CellNorm = Literal["affine-free", "affine", "conditional", "sandwich"]
EvaluatedBy = Literal["batch", "shared", "condition"]


@dataclass(frozen=True)
class Config:
    """A supernet of NAS-Bench-201, what it trains on, and how.

    Args:
        data: Images, by a name or a path as in ``renorm train``.
        download: Fetch ``cifar10`` or ``cifar100`` if it is not there.
        size: Side in pixels that they are scaled to, a multiple of 4; by default their own.
        table: File with the benchmark's accuracies, as ``renorm.data.nasbench201`` reads it; without one nothing says how good
            what is found really is.
        column: Which of its data sets: ``cifar10``, ``cifar100`` or ``imagenet16-120``.
        method: ``darts`` trains the mixture and its weights in turns; ``darts-second`` looks one step of the network ahead;
            ``paths`` trains one cell a step, each that connects anything equally often.
        norm: Of the cells: ``affine-free``; ``affine``; ``conditional``, an affine for each set of operations that lead to where
            its edge starts; ``sandwich``, a shared affine and on top of it one for each.
        statistics: What these evaluate by: the ``batch``; running statistics that all ``shared``; those of each ``condition``.
            Only single paths have running statistics.
        width: Channels of the first stage.
        cells: Cells of each stage.
        epochs: Passes over the first half of the images; the schedule of rates has ``horizon`` of them.
        horizon: Epochs after which the network's rate is lowest; None for all.
        batch: Images of a step, of either half.
        rate: Highest rate of the network's weights (SGD with Nesterov momentum), which falls as half a cosine, epoch by epoch.
        floor: Lowest.
        momentum: Of SGD.
        weight_decay: Of convolutions and the linear layer; norms and biases do not decay.
        clip: Largest norm of their gradient.
        mixture_rate: Rate of the weights of operations (Adam).
        mixture_decay: Their weight decay.
        stop_when_collapsed: Stop at the end of the epoch in which the found cell has collapsed.
        collapsed_edges: When that is: of its six edges so many have no parameters, as skip, pool and none.
        save_every: Steps between checkpoints; 0 saves at the end of each epoch only.
        trackers: Where the numbers of each epoch go too, as in ``renorm train``.
        seed: Of the weights, the halves, the order, augmentation and draws.
    """

    recipe: ClassVar[str] = "search"
    data: str = field(default="cifar10", metadata={"files": "data"})
    download: bool = False
    size: int | None = None
    table: str | None = field(default=None, metadata={"files": "data"})
    column: str = "cifar10"
    method: SearchMethod = "darts"
    norm: CellNorm = "affine-free"
    statistics: EvaluatedBy = "batch"
    width: int = 16
    cells: int = 5
    epochs: int = 35
    horizon: int | None = 50
    batch: int = 64
    rate: float = 0.025
    floor: float = 0.001
    momentum: float = 0.9
    weight_decay: float = 5e-4
    clip: float = 5.0
    mixture_rate: float = 3e-4
    mixture_decay: float = 1e-3
    stop_when_collapsed: bool = False
    collapsed_edges: int = 5
    save_every: int = 0
    trackers: tuple[str, ...] = ()
    seed: int = 0

    def check(self) -> None:
        """Refuse options that would do nothing, or would not do what they say.

        Raises:
            ValueError: If there is one.
        """
        mixture = ("mixture_rate", "mixture_decay", "stop_when_collapsed", "collapsed_edges")
        given = [name for name in mixture if getattr(self, name) != getattr(Config, name)]
        if given and not self.mixes:
            raise ValueError(
                f"{', '.join(option(name, True) for name in given)} with --method paths: only a mixture has weights that "
                "learn, and a cell that can collapse. Leave it out, or train --method darts."
            )
        if self.collapsed_edges != Config.collapsed_edges and not self.stop_when_collapsed:
            raise ValueError(
                f"--collapsed-edges {self.collapsed_edges} without --stop-when-collapsed: it would do nothing. Add that, or "
                "leave it out."
            )
        if self.mixes and self.statistics != "batch":
            raise ValueError(
                f"--statistics {self.statistics} with --method {self.method}: a mixture has no path whose statistics these "
                "would be, its cells normalize by the batch. Leave --statistics out, or train --method paths."
            )
        if (self.horizon or self.epochs) < self.epochs:
            raise ValueError(
                f"--epochs {self.epochs} and --horizon {self.horizon}: the rate is lowest at the horizon, which cannot come "
                "before the end. Raise --horizon, or leave it out."
            )

    @property
    def mixes(self) -> bool:
        """Whether the mixture trains, and not one path at a time."""
        return self.method != "paths"
