"""Options that name a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from renorm.recipes.classify import option

if TYPE_CHECKING:
    from renorm.recipes import NamedModel

Triple = tuple[float, float, float]
OF_NAMED = ("weights", "num_classes", "mean", "std")  # options of a model given by its architecture's name


@dataclass(frozen=True)
class ModelOptions:
    """Where a model's weights and input normalization come from, unless it is a run, which knows.

    Args:
        weights: File of weights for a model given by name.
        num_classes: Outputs of a model given by name, if not its usual number.
        mean: Mean that the input is normalized by, in 0 to 1; by default the model's own, else ImageNet's.
        std: Standard deviation, likewise.
        download: Fetch cifar10 or cifar100, where they are the data, if they are not there.
    """

    weights: Path | None = None
    num_classes: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    download: bool = False

    def open(self, name: str, device: str | None = None) -> NamedModel:
        """A model by its name, on a device, which fetches its data if asked to.

        Raises:
            ValueError: If only one of mean and std is given, or the model cannot be made.
            FileNotFoundError: If there is no such run or file.
        """
        return replace(self.find(name, device), download=self.download)

    def find(self, name: str, device: str | None = None) -> NamedModel:
        """The model of a run's folder, of a file that renorm wrote, or of an architecture's name.

        Raises:
            ValueError: If only one of mean and std is given, the model cannot be made, or it knows itself what is given.
            FileNotFoundError: If there is no such run or file.
        """
        from renorm.recipes import open_file, open_named, open_run

        if (self.mean is None) != (self.std is None):
            raise ValueError("only one of --mean and --std given: normalization needs both. Add the other.")
        path = Path(name)
        if path.suffix == ".safetensors" or path.is_dir() or "/" in name or "\\" in name:
            self._check_named(name)
            return open_file(path, device) if path.suffix == ".safetensors" else open_run(path, device)
        normalization = () if self.mean is None or self.std is None else (self.mean, self.std)
        return open_named(name, self.weights, self.num_classes, normalization, device)

    def _check_named(self, name: str) -> None:
        """Refuse what a run or a file says itself."""
        given = [option(key, getattr(self, key)) for key in OF_NAMED if getattr(self, key) is not None]
        if given:
            raise ValueError(
                f"{', '.join(given)} with {name}, which says that itself: only a model given by its architecture's name needs "
                f"it. Leave {'it' if len(given) == 1 else 'them'} out, or name the architecture, as in resnet20 --weights FILE."
            )
