"""Files that several commands write, and what they tell of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from renorm.cli.console import Console
    from renorm.recipes import ExportedRun, NamedModel


def write_folded(named: NamedModel, branch: str | None, path: Path, console: Console) -> nn.Module:
    """Write the plain model of a branch."""
    from renorm.recipes.classify import write_plain

    plain = write_plain(named, branch, path)
    console.done(f"plain model, equal to branch {branch}" if branch else "plain model", path, "plain_model")
    return plain


def write_exported(named: NamedModel, plain: nn.Module, path: Path, about: dict[str, Any], console: Console) -> None:
    """Write a plain model as a program."""
    from renorm.recipes.classify import write_program

    tell_exported(write_program(named, plain, path, {**about, "command": console.invocation}), console)


def tell_exported(program: ExportedRun, console: Console) -> None:
    """Say what was exported, and what it takes."""
    key = program.file.path.suffix[1:]
    console.done("exported model", repr(program.file), key)
    console.found(**{key: {**asdict(program.file), **program.about}})
    console.say(f"  takes {program.takes}", style="dim")
