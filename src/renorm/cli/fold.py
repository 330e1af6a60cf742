"""``renorm fold``: a plain model out of one branch."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

from renorm.cli.console import done
from renorm.cli.model import ModelOptions

if TYPE_CHECKING:
    from torch import nn

    from renorm.recipes import NamedModel


@dataclass(frozen=True)
class Fold:
    """Write one branch as the plain model it is equal to: plain layers, plain keys; the equality is checked.

    Args:
        model: Folder of a run, or a file that renorm wrote.
        out: Safetensors file to write.
        branch: Which one.
        bank: Bank file to put into the branch first.
        source: Where a model given by name comes from.
    """

    model: Positional[str]
    out: Path
    branch: str | None = None
    bank: Path | None = None
    source: ModelOptions = field(default_factory=ModelOptions)

    def run(self) -> None:
        """Run the command."""
        import renorm

        named = self.source.open(self.model)
        branch = named.branch(self.branch)
        if self.bank:
            renorm.install_(named.classifier.model, renorm.Bank.load(self.bank).check_complete(), branch=branch)
        write_folded(named, branch, self.out)


def write_folded(named: NamedModel, branch: str | None, path: Path) -> nn.Module:
    """Write the plain model of a branch and check what the file gives back.

    Raises:
        ValueError: If the file's name is not one of safetensors.
        RuntimeError: If the folded model is not equal to the branch.
    """
    import json

    from safetensors.torch import load_file, save

    from renorm.files import write_atomically

    if path.suffix != ".safetensors":
        raise ValueError(
            f"cannot write {path}: weights are safetensors files. Call it {path.with_suffix('.safetensors')}."
        )
    plain = named.classifier.folded(branch)
    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in plain.state_dict().items()}
    about = {key: json.dumps(value) for key, value in named.about_folded().items()}
    write_atomically(path, save(tensors, about or None))
    plain.load_state_dict(load_file(path))
    done(f"plain model, equal to branch {branch}" if branch else "plain model", path)
    return plain
