"""The folder of a run: ``config.json``, ``metrics.jsonl``, ``checkpoint/``, ``banks/``, ``results.csv``, ``report.html``."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from renorm.files import write_atomically, writing
from renorm.train.checkpoint import Checkpoint, load


@dataclass(frozen=True)
class Run:
    """Where the parts of a run are.

    Args:
        path: The folder.
    """

    path: Path

    @property
    def checkpoint(self) -> Path:
        """Folder of the checkpoint's versions."""
        return self.path / "checkpoint"

    @property
    def banks(self) -> Path:
        """Folder of the banks, a file each."""
        return self.path / "banks"

    @property
    def results(self) -> Path:
        """Table bank x shift."""
        return self.path / "results.csv"

    @property
    def report(self) -> Path:
        """The page to look at."""
        return self.path / "report.html"

    @property
    def metrics(self) -> Path:
        """One JSON object per line."""
        return self.path / "metrics.jsonl"

    def start(self, config: dict[str, Any]) -> None:
        """Make the folder.

        Raises:
            ValueError: If a run is there already.
        """
        if (self.path / "config.json").exists():
            raise ValueError(
                f"{self.path} holds a run already: a new run needs a folder of its own. "
                "Add --resume to continue it, or choose another --out."
            )
        write_atomically(self.path / "config.json", (json.dumps(config, indent=2) + "\n").encode())

    def config(self) -> dict[str, Any]:
        """The configuration it was started with.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: If the file is damaged.
        """
        path = self.path / "config.json"
        if not path.exists():
            raise FileNotFoundError(
                f"no run in {self.path}: a folder with config.json, as `renorm train --out` makes it, is needed. "
                f"{_nearby(self.path)}"
            )
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise _damaged(path, error) from error
        if not isinstance(found, dict):
            raise _damaged(path, "it holds no object")
        return found

    def log(self, record: dict[str, Any]) -> None:
        """Append a record to the metrics, a whole one or none.

        Raises:
            OSError: If the disk is full; the records before are as they were.
        """
        before = self.metrics.stat().st_size if self.metrics.exists() else 0
        with writing(self.metrics):
            try:
                with self.metrics.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                self.forget_after(before)
                raise

    def history(self) -> list[dict[str, Any]]:
        """All records of the metrics.

        Raises:
            ValueError: If the file is damaged.
        """
        if not self.metrics.exists():
            return []
        try:
            return [json.loads(line) for line in self.metrics.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise _damaged(self.metrics, error) from error

    def forget_after(self, num_bytes: int) -> None:
        """Cut the metrics where they were when the checkpoint was written."""
        if self.metrics.exists():
            os.truncate(self.metrics, min(num_bytes, self.metrics.stat().st_size))

    def load(self) -> Checkpoint:
        """The newest checkpoint."""
        self.config()
        return load(self.checkpoint)


def _damaged(path: Path, why: object) -> ValueError:
    return ValueError(
        f"{path} cannot be read ({why}): a whole file as `renorm train` writes it is needed. Copy it again, or train again."
    )


def _nearby(path: Path) -> str:
    runs = sorted(config.parent.name for config in path.parent.glob("*/config.json"))[:5]
    return f"Beside it there are: {', '.join(runs)}." if runs else "Check the path."
