"""The numbers of a run where trackers of experiments show them: TensorBoard, wandb, mlflow and others that accelerate knows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from renorm.extras import require
from renorm.train.devices import Processes, accelerating
from renorm.train.loop import Listener


@contextmanager
def tracking(folder: Path, names: Sequence[str], processes: Processes) -> Iterator[Listener]:
    """Give a listener that writes every number of a record under its step.

    An epoch that a resumed run trains again is written again, with equal numbers.

    Args:
        folder: Of the run. Trackers that write files do so in it, TensorBoard in its folder ``tensorboard``.
        names: Of trackers; there may be none.
        processes: This one among them writes.
    """
    if not names:
        yield lambda record: None
        return
    with accelerating(processes):  # trackers ask its state which process this is
        trackers = [_start(kind, folder) for kind in _kinds(names)]

        def write(record: dict[str, float]) -> None:
            numbers = {name: value for name, value in record.items() if name != "step"}
            for tracker in trackers:
                tracker.log(numbers, step=int(record["step"]))

        try:
            yield write
        finally:
            for tracker in trackers:
                tracker.finish()


def check_trackers(names: Sequence[str]) -> None:
    """Refuse trackers that are not there, before anything is written.

    Raises:
        ValueError: If accelerate knows none of a name, or its library is not installed.
    """
    if names:
        _kinds(names)


def _kinds(names: Sequence[str]) -> list[type[Any]]:
    tracking = require("accelerate.tracking")
    known = tracking.LOGGER_TYPE_TO_CLASS
    installed = [str(each) for each in tracking.get_available_trackers()]
    for name in names:
        if name not in known:
            raise ValueError(f"no tracker {name!r}: accelerate has {', '.join(known)}. Choose among them.")
        if name not in installed:
            raise ValueError(
                f"the tracker {name} needs its library, which is not installed; {', '.join(installed) or 'none'} "
                f"{'are' if len(installed) > 1 else 'is'}. Install it with: pip install {name}"
            )
    return [known[name] for name in names]


def _start(kind: type[Any], folder: Path) -> Any:
    name = kind.name if kind.name == "tensorboard" else folder.name  # of a folder there, of the run elsewhere
    tracker = kind(name, str(folder)) if kind.requires_logging_directory else kind(name)
    tracker.start()
    return tracker
