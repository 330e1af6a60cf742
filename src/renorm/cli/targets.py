"""Files that a command is to write, looked at before it works."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path


def check_targets(targets: Mapping[str, Path | None], suffixes: Mapping[str, str]) -> None:
    """Refuse, before anything is computed, what could not be written at the end. Nothing is made or changed.

    Args:
        targets: Files by the option that named them; None where it was not given.
        suffixes: What each option's file ends in.

    Raises:
        ValueError: Another suffix, a folder, or one file for two options.
        OSError: No file can be made there.
    """
    given = {option: path for option, path in targets.items() if path is not None}
    for option, path in given.items():
        if path.suffix != suffixes[option]:
            right = path.with_suffix(suffixes[option]) if path.name else Path(f"file{suffixes[option]}")
            raise ValueError(
                f"--{option} {path}: a name that ends in {suffixes[option]} is needed. Call it {right}, or leave it out."
            )
        same = [other for other in given if other != option and given[other].resolve() == path.resolve()]
        if same:
            raise ValueError(
                f"--{option} and --{same[0]} both name {path}: each file needs a name of its own. Change one."
            )
        check_place(option, path)


def check_place(option: str, path: Path) -> None:
    """Refuse a path under which no file can be made.

    Raises:
        ValueError: It is a folder.
        OSError: A part of it is a file, or nothing can be written there.
    """
    if path.is_dir():
        raise ValueError(f"--{option} {path} is a folder: the name of a file is needed. Add one, or remove the folder.")
    folder = next(each for each in path.absolute().parents if each.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise OSError(
            f"--{option} {path} cannot be written ({reason}: {folder}): a folder in which files can be made is needed. Choose "
            "another place."
        ) from error
