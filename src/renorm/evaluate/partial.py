"""Places of what is finished of a curve, until its file is written."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from renorm.evaluate.protocol import Protocol


def place(root: Path, protocol: Protocol, *more: Any) -> Path:
    """A folder for an evaluation: whatever differs, but for the command, has another one.

    Args:
        root: Of all such folders.
        protocol: Of the evaluation.
        more: What else it depends on, as JSON has it.
    """
    text = json.dumps([replace(protocol, command="").to_json(), *more])
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]


def forget(folder: Path) -> None:
    """Remove a place once the file is written, and the root where it was the last; others stay."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()
