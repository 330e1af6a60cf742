"""Files that several commands write, and what they tell of them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from renorm.cli.console import Console
    from renorm.recipes import NamedModel


def write_folded(named: NamedModel, branch: str | None, path: Path, console: Console) -> nn.Module:
    """Write the plain model of a branch."""
    from renorm.recipes.classify import write_plain

    plain = write_plain(named, branch, path)
    console.done(f"plain model, equal to branch {branch}" if branch else "plain model", path, "plain_model")
    return plain


def write_exported(
    named: NamedModel, plain: nn.Module, path: Path, about: dict[str, Any], console: Console, *, normalize: bool = False
) -> None:
    """Write a plain model as a program."""
    from renorm.recipes.classify import input_of, write_program

    about = {**about, "command": console.invocation}
    exported = write_program(named, plain, path, about, normalize=normalize)
    takes = input_of(named, normalize)
    size = takes["shape"][-1]
    console.done("exported model", repr(exported), path.suffix[1:])
    console.found(**{path.suffix[1:]: {**asdict(exported), **takes}})
    console.say(f"  takes float32 images (batch, 3, {size}, {size}): {takes['input']}", style="dim")
