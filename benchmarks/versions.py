"""Two versions of renorm against each other, in one process: the lines of the other benchmarks, after / before.

    python benchmarks/versions.py BEFORE [AFTER] [--only WORDS]     folders of sources, such as ../before/src; AFTER is this one

Sides take turns of a few calls, timed by the CPU time of one thread, so that the load of a machine that others use hits both
alike; numbers are medians of paired ratios. The last line is the median and the worst of them.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from paired import machine, ratios
from torch.nn.functional import cross_entropy

NAMES = {
    "renorm.layers": ["SandwichBatchNorm", "SplitBatchNorm"],
    "renorm.functional": ["adain", "exchange_moments", "fixed_norm", "mix_moments", "pono"],
    "renorm.models": ["create"],
    "renorm": ["MomentExchange", "adapt_", "measure", "route", "split_", "stack", "unstack"],
}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
Build = Callable[[SimpleNamespace], Callable[[], object]]


def load(source: Path) -> SimpleNamespace:
    """What is timed, of the sources in a folder; another version can be loaded after it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "renorm"]:
        del sys.modules[name]
    sys.path.insert(0, str(source))
    found = {name: getattr(importlib.import_module(module), name) for module, names in NAMES.items() for name in names}
    sys.path.pop(0)
    return SimpleNamespace(**found)


def backward(forward: Callable[[], torch.Tensor], x: torch.Tensor, g: torch.Tensor) -> Callable[[], object]:
    """A call forward and backward."""

    def run() -> None:
        x.grad = None
        forward().backward(g)

    return run


def routed(version: Any, norm: Any, x: torch.Tensor, *spec: Any) -> torch.Tensor:
    """A forward under a route."""
    with version.route(norm, *spec, check=False):
        return norm(x)


def features(shape: tuple[int, ...], layout: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Features that need a gradient, and one for the output."""
    x = torch.randn(shape).contiguous(memory_format=FORMATS[layout])
    return x.requires_grad_(), torch.randn_like(x)


def split_sites() -> Iterator[tuple[str, Build]]:
    """The lines of split_site.py."""
    for layout, (n, *rest), k in product(FORMATS, [(120, 64, 32, 32), (60, 256, 14, 14)], (2, 3, 5)):
        x, g = features((n, *rest), layout)
        names = [f"b{i}" for i in range(k)]
        uneven = dict.fromkeys(names, n // 2 // (k - 1)) | {"b0": n // 2}
        uneven[names[-1]] += n - sum(uneven.values())
        routes = {"whole": ("b0",), "interleaved": tuple(names), "blocks": (dict.fromkeys(names, n // k),)}
        routes |= {"uneven": (uneven,), "labels": (torch.randint(0, k, (n,)),)}
        for route, spec in routes.items():

            def build(version: Any, c: int = rest[0], names: list[str] = names, spec: Any = spec) -> Any:
                norm = version.SplitBatchNorm(c, names)
                return backward(lambda: routed(version, norm, x, *spec), x, g)  # noqa: B023

            yield f"split {layout} {(n, *rest)} K={k} {route}", build


def sandwiches() -> Iterator[tuple[str, Build]]:
    """The lines of sandwich.py."""
    for layout, shape, classes in product(FORMATS, [(128, 64, 32, 32), (64, 256, 14, 14)], (10, 1000)):
        x, g = features(shape, layout)
        labels = torch.randint(0, classes, shape[:1])
        for kind in ("sandwich", "conditional"):

            def build(version: Any, kind: str = kind, c: int = shape[1], classes: int = classes) -> Any:
                cls = version.SandwichBatchNorm if kind == "sandwich" else version.SplitBatchNorm
                norm = cls(c, [str(k) for k in range(classes)], share="statistics")
                return backward(lambda: routed(version, norm, x, labels), x, g)  # noqa: B023

            yield f"{kind} {layout} {shape} classes={classes}", build


def exchanges() -> Iterator[tuple[str, Build]]:
    """The lines of exchange.py, and the other functions that give samples moments."""
    for layout, shape in product(FORMATS, [(64, 64, 56, 56), (128, 64, 32, 32), (64, 16, 32, 32)]):
        x, g = features(shape, layout)
        donors, style = torch.randperm(shape[0]), torch.randn(1, shape[1], 16, 16)
        calls: dict[str, Callable[[Any], torch.Tensor]] = {
            over: lambda v, over=over, groups=groups: v.exchange_moments(x, donors, over, groups=groups)  # noqa: B023
            for over, groups in {"pono": None, "in": None, "ln": None, "gn": 4, "gpono": 4}.items()
        }
        calls["mixstyle"] = lambda v: v.mix_moments(x, donors, 0.3)  # noqa: B023
        calls["pono shortcut"] = lambda v: v.pono(x)[0]  # noqa: B023
        calls["adain"] = lambda v: v.adain(x, style)  # noqa: B023
        for name, call in calls.items():
            yield (
                f"exchange {layout} {shape} {name}",
                lambda v, call=call: backward(lambda: call(v), x, g),  # noqa: B023
            )


def evaluations() -> Iterator[tuple[str, Build]]:
    """Sites by their running statistics, for labels, with and without gradients."""
    for layout, shape, grad in product(FORMATS, [(120, 64, 32, 32), (60, 256, 14, 14)], (False, True)):
        x, g = features(shape, layout)
        labels = torch.randint(0, 3, shape[:1])

        def build(version: Any, c: int = shape[1], grad: bool = grad) -> Any:
            norm = version.SplitBatchNorm(c, ["a", "b", "c"]).eval()
            forward = lambda: routed(version, norm, x, labels)  # noqa: B023, E731
            return backward(forward, x, g) if grad else torch.no_grad()(forward)  # noqa: B023

        yield f"evaluation {layout} {shape} {'backward' if grad else 'forward'}", build


def networks() -> Iterator[tuple[str, Build]]:
    """Training steps with split norms, adapting and measuring."""
    for layout, (name, n) in product(FORMATS, [("resnet20", 32), ("wrn-16-4", 8)]):
        views = {branch: features((n, 3, 32, 32), layout)[0].detach() for branch in ("weak", "strong")}
        target = torch.randint(0, 10, (n,))

        def train(version: Any, name: str = name, views: Any = views, target: Any = target) -> Any:
            model = version.create(name, num_classes=10)
            version.split_(model, ["weak", "strong"])

            def run() -> None:
                x, spec = version.stack(views)
                with version.route(model, spec):
                    parts = version.unstack(model(x), spec)
                torch.stack([cross_entropy(y, target) for y in parts.values()]).sum().backward()

            return run

        def model_of(version: Any, name: str = name, layout: str = layout) -> Any:
            return copy.deepcopy(version.create(name, num_classes=10)).to(memory_format=FORMATS[layout]).eval()

        def adapt(version: Any, model_of: Any = model_of, x: torch.Tensor = views["weak"]) -> Any:
            model = model_of(version)
            return lambda: version.adapt_(model, x, prior=64).undo()

        def measure(version: Any, model_of: Any = model_of, x: torch.Tensor = views["weak"]) -> Any:
            model = model_of(version)
            return lambda: version.measure(model, [x])

        yield f"train {layout} {name}", train
        yield f"adapt {layout} {name}", adapt
        yield f"measure {layout} {name}", measure


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path, nargs="?", default=Path(__file__).parents[1] / "src")
    parser.add_argument("--only", default="", help="lines that contain these words")
    parser.add_argument("--rounds", type=int, default=15)
    arguments = parser.parse_args()
    print(machine())
    torch.set_num_threads(1)
    time.perf_counter = time.thread_time
    versions = {"before": load(arguments.before.resolve()), "after": load(arguments.after.resolve())}
    found = []
    for lines in (split_sites, sandwiches, exchanges, evaluations, networks):
        for name, build in lines():
            if all(word in name.split() for word in arguments.only.split()):
                torch.manual_seed(0)
                sides = {side: build(version) for side, version in versions.items()}
                r = ratios(sides, rounds=arguments.rounds, repeats=3)
                found.append(r["after"])
                print(f"{name:62} {r['ms']:8.2f} ms {r['after']:6.3f}", flush=True)
    print(f"median {statistics.median(found):.3f}, worst {max(found):.3f} of {len(found)}")


if __name__ == "__main__":
    main()
