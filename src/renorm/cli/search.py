"""``renorm search``: find a cell in a network of all of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from renorm.cli.options import Subcommand
from renorm.recipes.search import Config

if TYPE_CHECKING:
    from collections.abc import Mapping

    from renorm.cli.console import Console


@dataclass(frozen=True)
class Search(Subcommand):
    """Train all cells of NAS-Bench-201 in one network of shared weights: as a mixture that finds one (DARTS), or path by path.

    Of a mixture each epoch tells its loss, how undecided its weights are (entropy), the cell of the largest ones, and what the
    benchmark's table says of that. Paths are ranked afterwards, by renorm rank.

    Args:
        options: What to train.
        out: Folder of the run; by default one under runs/ named after the data, method and norm.
        resume: Go on with the run in --out from its newest checkpoint, with the options it was started with.
    """

    options: Config = field(default_factory=Config)
    out: Path | None = None
    resume: bool = False

    def run(self, console: Console) -> None:
        """Run the command."""
        from renorm.cli.training import table, trained
        from renorm.recipes import check_typed
        from renorm.recipes.search import config_at

        config = self.options
        folder = (
            self.out or Path("runs") / f"search-{Path(config.data).stem}-{config.method}-{config.norm}-{config.seed}"
        )
        if self.resume:
            config = config_at(folder)
            check_typed(folder, config, self.options, console.typed)
        recipe = trained(config, folder, console, tell, resume=self.resume, device=self.common.device, words=words)
        if config.mixes:
            table(recipe, folder, 0, console)
            console.found(cell=str(recipe.networks["supernet"].found))
        else:
            console.say(f"rank its cells: renorm rank {folder}")
        recipe.processes.leave()


def tell(recipe: Any, console: Console) -> None:
    """Say what is trained."""
    from renorm.recipes.search import in_words

    config, count = recipe.config, recipe.processes.count
    halves = f"{len(recipe.first):,} and {len(recipe.second):,} images of {recipe.images.name}"
    console.say(f"all cells of NAS-Bench-201 by {in_words(config)}: {halves}, {recipe.processes.device.type}")
    if recipe.table is not None:
        console.say(f"cells are judged by {recipe.table}", "dim")
    if count > 1:
        console.say(f"{count} processes; norms use the statistics of all together", "dim")


def words(record: Mapping[str, float]) -> list[str]:
    """What an epoch of a mixture says of its cell."""
    if "entropy" not in record:
        return []
    from renorm.recipes.search import cell_of

    cell = cell_of(record)
    found = [f"mixture loss {record['mixture/loss']:.3f}", f"entropy {record['entropy']:.3f}", str(cell)]
    if "table/accuracy" in record:
        found.append(f"table {record['table/accuracy']:.2%} (better than {record['table/percentile']:.0f} %)")
    return [*found, f"{cell.free_edges} edges without parameters", *["leads nowhere"] * (not cell.connected)]
