"""The numbers of a run as TensorBoard events."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from renorm.extras import require
from renorm.files import writing
from renorm.train.loop import Listener


@contextmanager
def board(folder: Path) -> Iterator[Listener]:
    """Give a listener that writes every number of a record under its step.

    An epoch that a resumed run trains again is written again, with equal numbers.
    """
    require("tensorboard")
    with require("torch.utils.tensorboard").SummaryWriter(str(folder)) as writer:

        def write(record: dict[str, float]) -> None:
            with writing(folder):
                for name in record.keys() - {"step"}:
                    writer.add_scalar(name, record[name], int(record["step"]))
                writer.flush()

        yield write
