"""Options that name a model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.recipes import option

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
        ema: Of averaged (EMA) and other weights in a file take the averaged ones, as timm does.
        trust_code: Run the code that a run or a file says its network is made by.
        download: Fetch cifar10 or cifar100, where they are the data, if they are not there.
    """

    weights: Path | None = None
    num_classes: int | None = None
    mean: Triple | None = None
    std: Triple | None = None
    ema: bool = True
    trust_code: bool = False
    download: bool = False

    def open(self, name: str, device: str | None = None, *, tracked: bool = False) -> NamedModel:
        """A classifier by its name, on a device, which fetches its data if asked to.

        Args:
            name: Folder of a run, a file that renorm wrote, or a model's name.
            device: Where it computes.
            tracked: Whether its norms must have running statistics, which is looked at before weights are fetched.

        Raises:
            ValueError: If only one of mean and std is given, or the model cannot be made or is no classifier.
            FileNotFoundError: If there is no such run or file.
        """
        return replace(self.find(name, device, tracked), download=self.download)

    def open_any(self, name: str, device: str | None = None) -> tuple[str, Any]:
        """What a name stands for, be it a run of another recipe, and the recipe; options as of :meth:`open`.

        Raises:
            ValueError: If it cannot be made, or its runs have no such option.
            FileNotFoundError: If there is no such run or file.
        """
        from renorm.recipes import USUAL, changed, open_run

        recipe = self.recipe(name)
        if recipe == USUAL:
            return recipe, self.open(name, device)
        if others := changed(self):
            raise ValueError(
                f"{others} with {name}, a run of the recipe {recipe!r}: it would do nothing. Leave it out."
            )
        return recipe, open_run(Path(name), device)

    def recipe(self, name: str) -> str:
        """The recipe of what a name stands for."""
        from renorm.models import is_name
        from renorm.recipes import USUAL, recipe_at

        return recipe_at(Path(name)) if not is_name(name) and Path(name).is_dir() else USUAL

    def find(self, name: str, device: str | None = None, tracked: bool = False) -> NamedModel:
        """The model of a run's folder, of a file that renorm wrote, or of an architecture's name.

        Raises:
            ValueError: If only one of mean and std is given, the model cannot be made, or it knows itself what is given.
            FileNotFoundError: If there is no such run or file.
        """
        from renorm.models import is_name
        from renorm.recipes import open_file, open_named, open_run, trust_code_of
        from renorm.recipes.classify import check_classifier
        from renorm.train import Run

        if (self.mean is None) != (self.std is None):
            raise ValueError("only one of --mean and --std given: normalization needs both. Add the other.")
        if not is_name(name):
            path = Path(name)
            if path.is_dir():
                check_classifier(Run(path).config(), path)
            self._check_named(name)
            if self.trust_code:
                trust_code_of(path)
            return open_run(path, device) if path.is_dir() or not path.suffix else open_file(path, device)
        if self.trust_code:
            raise ValueError(
                f"--trust-code with {name}, which names its code itself: it would do nothing. Leave it out."
            )
        normalization = () if self.mean is None or self.std is None else (self.mean, self.std)
        options = {"ema": self.ema, "tracked": tracked}
        return open_named(name, self.weights, self.num_classes, normalization, device, **options)

    def _check_named(self, name: str) -> None:
        """Refuse what a run or a file says itself."""
        given = [option(key, getattr(self, key)) for key in OF_NAMED if getattr(self, key) is not None]
        given += ["--no-ema"] * (not self.ema)
        if given:
            raise ValueError(
                f"{', '.join(given)} with {name}, which says that itself: only a model given by its architecture's name needs "
                f"it. Leave {'it' if len(given) == 1 else 'them'} out, or name the architecture, as in resnet20 --weights FILE."
            )
