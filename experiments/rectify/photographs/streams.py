"""Streams of CIFAR-10 images through the ResNet-20 trained by others: the library's adapter and stream rules without gradients.

    python experiments/rectify/photographs/streams.py --data DATA [--methods ...]

Appends a row of `results/streams.csv` for each stream and method; started again, it goes on. Streams are of the first test
images, seed 0.
"""

from __future__ import annotations

import argparse
import copy
import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from material import Network, network
from torch import Tensor, nn

import renorm
from renorm.banks import observed, site_tensors
from renorm.corruptions import corrupt
from renorm.data import load
from renorm.functional import instance_moments

COUNT = 640
COLUMNS = ["stream", "method", "images", "accuracy", "first", "rest", "events"]
Shown = Callable[[Tensor], Tensor]


class Stream(NamedTuple):
    """Images in their order, and how many come at a time."""

    x: Tensor
    labels: Tensor
    batch: int


def streams(net: Network) -> Iterator[tuple[str, Callable[[], Stream]]]:
    """Shuffled, sorted by class, one by one, slowly worse, and switching between corruptions and back."""
    data = load(str(net.data))
    pixels, labels = data.batch(range(COUNT))
    labels = torch.as_tensor(labels)

    def shown(name: str, rows: Tensor, severity: int) -> Tensor:
        x = pixels[rows]
        return x if not severity else corrupt(x, name, severity, rows.tolist(), scale=32)

    def made(parts: list[tuple[str, int]], order: Tensor, batch: int = 32) -> Callable[[], Stream]:
        def make() -> Stream:
            rows = order.chunk(len(parts))
            x = torch.cat([shown(name, r, severity) for (name, severity), r in zip(parts, rows, strict=True)])
            return Stream(net.normalized(x), labels[order], batch)

        return make

    mixed, by_class = torch.arange(COUNT), labels.argsort(stable=True)
    switches = [("gaussian_noise", 3), ("defocus_blur", 4), ("fog", 3), ("contrast", 3), ("jpeg_compression", 3)]
    yield "clean", made([("clean", 0)], mixed)
    yield "noise 3", made([("gaussian_noise", 3)], mixed)
    yield "clean, sorted by class", made([("clean", 0)], by_class)
    yield "noise 3, sorted by class", made([("gaussian_noise", 3)], by_class)
    yield "clean, one by one", made([("clean", 0)], mixed[:320], 1)
    yield "noise 3, one by one", made([("gaussian_noise", 3)], mixed[:320], 1)
    yield "fog 0 to 5 and back", made([("fog", s) for s in (0, 1, 2, 3, 4, 5, 4, 3, 2, 1)], mixed)
    yield "five corruptions, clean between", made([p for s in switches for p in (s, ("clean", 0))], mixed)


@contextmanager
def moving_inputs(model: nn.Module, by: Callable[[str, nn.Module, Tensor], tuple[Tensor, Tensor]]) -> Iterator[Shown]:
    """Images are normalized at sites by what a function gives, ``(N, C)``: their input is moved such that the source does."""
    handles = []
    for name, site in site_tensors(model, None).items():

        def hook(module: nn.Module, args: tuple[Tensor, ...], name: str = name) -> tuple[Tensor, ...]:
            x = args[0]
            mean, var = (t[..., None, None] for t in by(name, module, x))
            source, spread = module.running_mean.view(1, -1, 1, 1), module.running_var.view(1, -1, 1, 1) + module.eps
            return (((x - mean) * (spread / (var + module.eps)).sqrt() + source), *args[1:])

        handles.append(site.module.register_forward_pre_hook(hook))
    yield model
    for handle in handles:
        handle.remove()


@contextmanager
def alpha(model: nn.Module, weight: float = 0.9) -> Iterator[Shown]:
    """alpha-BN (You et al., 2021): a constant weight of the source, the rest of each batch."""

    def by(name: str, site: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        mean, var = x.mean((0, 2, 3)), x.var((0, 2, 3), correction=0)
        both = (torch.lerp(mean, site.running_mean, weight), torch.lerp(var, site.running_var, weight))
        return both[0][None], both[1][None]

    with moving_inputs(model, by) as shown:
        yield shown


@contextmanager
def unmix(model: nn.Module, k: int = 16) -> Iterator[Shown]:
    """UnMix-TNS (Tomar et al., ICLR 2024): each image by the components that it is like, which follow the stream."""
    g, kept = torch.Generator().manual_seed(0), {}

    def by(name: str, site: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
        if name not in kept:
            spread = (0.5 * k / (k - 1)) ** 0.5 * site.running_var.sqrt()
            noise = torch.randn(k, x.shape[1], generator=g)
            kept[name] = [site.running_mean + spread * noise, (site.running_var / 2).expand(k, -1).clone()]
        means, variances = kept[name]
        own = instance_moments(x)
        p = (torch.nn.functional.cosine_similarity(own.mean[:, None], means[None], dim=2) / 0.07).softmax(1)
        mixed, inner = (
            (1 - p[..., None]) * old[None] + p[..., None] * new[:, None]
            for old, new in ((means, own.mean), (variances, own.var))
        )
        rate = 1 - 0.9 ** (len(x) / 64)
        means += rate * (p[..., None] * (own.mean[:, None] - means)).mean(0)
        variances += rate * (p[..., None] * (own.var[:, None] - variances)).mean(0)
        return mixed.mean(1), inner.mean(1) + mixed.var(1, correction=0)

    with moving_inputs(model, by) as shown:
        yield shown


@contextmanager
def dua(model: nn.Module) -> Iterator[Shown]:
    """DUA (Mirza et al., CVPR 2022) on the first 80 images, each with its mirror image only."""
    targets, state = site_tensors(model, None), {"rho": 0.1, "seen": 0}

    def learn(image: Tensor) -> None:
        state["rho"] *= 0.94
        rate = state["rho"] + 0.005

        def observe(name: str, site: renorm.banks.SiteTensors, x: Tensor) -> None:
            site.mean.lerp_(x.mean((0, 2, 3)), rate)
            site.var.lerp_(x.var((0, 2, 3)), rate)

        with observed(model, targets, None, observe):
            model(torch.stack([image, image.flip(2)]))

    def shown(x: Tensor) -> Tensor:
        for image in x[: max(0, 80 - int(state["seen"]))]:
            learn(image)
        state["seen"] += len(x)
        return model(x)

    yield shown


METHODS: dict[str, Callable[[nn.Module], object]] = {
    "source": lambda model: moving_inputs(model, lambda n, m, x: (m.running_mean[None], m.running_var[None])),
    "adapter": lambda model: renorm.Adapter(model),
    "alpha-BN 0.9": alpha,
    "prediction-time, prior 64": lambda model: predicted(model),
    "DUA": dua,
    "UnMix-TNS": unmix,
}


@contextmanager
def predicted(model: nn.Module) -> Iterator[Shown]:
    """Each batch by itself and a source that counts as 64."""
    with renorm.prediction_time(model, 64):
        yield model


@torch.no_grad()
def judged(net: Network, name: str, stream: Stream) -> list[str]:
    """Accuracy on the whole stream, its first batch and the rest; and what an adapter reports."""
    model = copy.deepcopy(net.model)
    with METHODS[name](model) as shown:  # pyright: ignore[reportGeneralTypeIssues]
        outputs = [shown(x).argmax(1) for x in stream.x.split(stream.batch)]
        events = [e.what for e in getattr(shown, "events", ())]
    hits = 100 * (torch.cat(outputs) == stream.labels).double()
    told = " ".join(f"{events.count(what)} {what}" for what in dict.fromkeys(events))
    return [f"{value:.1f}" for value in (hits.mean(), hits[:32].mean(), hits[32:].mean())] + [told]


def main() -> None:
    """Run what is missing."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--streams", nargs="+", help="only these, by their titles")
    parser.add_argument("--label", default="", help="after the methods' names, for another version of the library")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "streams.csv")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.out.exists():
        given.out.write_text(",".join(COLUMNS) + "\n")
    with given.out.open() as file:
        done = {(row["stream"], row["method"]) for row in csv.DictReader(file)}
    net = network("resnet20", given.data)
    for title, make in streams(net):
        if given.streams and title not in given.streams:
            continue
        missing = [name for name in given.methods if (title, name + given.label) not in done]
        stream = make() if missing else None
        for name in missing:
            assert stream is not None
            row = [title, name + given.label, len(stream.x), *judged(net, name, stream)]
            print(*row, sep="  ", flush=True)
            with given.out.open("a", newline="") as file:
                csv.writer(file).writerow(row)


if __name__ == "__main__":
    main()
