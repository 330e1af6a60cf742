"""What each source weight is worth, and what the unlabelled images tell beforehand, for every cell and draw.

    python experiments/rectify/collect.py cache CACHE --data DATA/cifar10
    python experiments/rectify/collect.py grid CACHE OUT --weights DATA/weights/cifar10-resnet20.safetensors

A cell is a corruption of some severity (95 of them) or the clean images. Each draw takes its own 128 images to adapt to (the
first n of them) and its own images to be judged on, so five draws judge five times as many images. Killed, it goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import networks
import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

import renorm
from renorm.banks import SiteTensors, observed, site_tensors
from renorm.corruptions import CORRUPTIONS, HELD_OUT, SEVERITIES, STANDARD, corrupt
from renorm.data import evaluation_split, load
from renorm.seeds import stable_seed

POOL = 128
CELLS = ["clean", *(f"{name}:{severity}" for name in (*STANDARD, *HELD_OUT) for severity in SEVERITIES)]
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
assert len(CORRUPTIONS) == 19


def cache(folder: Path, data: str, draws: int, judged: int, seed: int = 0) -> None:
    """Write the images of every cell, corrupted once for all networks."""
    images = load(data, evaluation_split(data))
    rows = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))[: draws * (POOL + judged)]
    pixels, labels = images.batch(rows)
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "draws": draws,
        "judged": judged,
        "seed": seed,
        "data": images.fingerprint,
        "labels": list(map(int, labels)),
    }
    (folder / "about.json").write_text(json.dumps(about))
    seeds = [stable_seed(seed, i) for i in rows.tolist()]
    for cell in CELLS:
        file = folder / f"{cell.replace(':', '-')}.npy"
        if file.exists():
            continue
        name, _, severity = cell.partition(":")
        shown = pixels
        if severity:
            parts = [
                corrupt(x, name, int(severity), s, scale=32)
                for x, s in zip(pixels.split(256), [seeds[i : i + 256] for i in range(0, len(seeds), 256)], strict=True)
            ]
            shown = torch.cat(parts)
        part = file.with_suffix(".part.npy")
        np.save(part, shown.numpy())
        part.rename(file)
        print(cell, flush=True)


def cache_domains(folder: Path, data: Path, source: str, size: int, draws: int, judged: int, seed: int = 0) -> None:
    """Write the images of every domain; of the one trained on, those held out only. Draws overlap: there are few images."""
    folder.mkdir(parents=True, exist_ok=True)
    labels, counts = {}, {}
    for file in sorted(data.glob("*.parquet")):
        images = load(str(file), size=size)
        able = torch.arange(len(images))
        able = able[able % 10 == 0] if file.stem == source else able
        counts[file.stem] = min(judged, len(able) - POOL)
        generator = torch.Generator().manual_seed(seed)
        rows = torch.cat(
            [able[torch.randperm(len(able), generator=generator)[: POOL + counts[file.stem]]] for _ in range(draws)]
        )
        pixels, found = images.batch(rows)
        labels[file.stem] = list(map(int, found))
        np.save(folder / f"{file.stem}.npy", pixels.numpy())
    about = {"draws": draws, "judged": counts, "seed": seed, "labels": labels}
    (folder / "about.json").write_text(json.dumps(about))


def drawn(folder: Path, cell: str, draw: int) -> tuple[Tensor, Tensor, Tensor]:
    """Images to adapt to, images to be judged on, and the labels of the latter."""
    about = json.loads((folder / "about.json").read_text())
    labels, judged = about["labels"], about["judged"]
    if isinstance(judged, dict):
        labels, judged = labels[cell], judged[cell]
    each = POOL + judged
    pixels = np.load(folder / f"{cell.replace(':', '-')}.npy", mmap_mode="r")[draw * each : (draw + 1) * each]
    shown = torch.from_numpy(np.array(pixels))
    return shown[:POOL], shown[POOL:], torch.tensor(labels[draw * each + POOL : (draw + 1) * each])


def evidence(model: nn.Module, x: Tensor, *, sequential: bool) -> Tensor:
    """Per site: gap and noise of the mean, and of the standard deviation, in source variances. Shape: ``(S, 4)``.

    Args:
        sequential: whether earlier sites normalize by the batch already, or by the source.
    """
    targets, rows = site_tensors(model, None), []
    saved = [(t, t.clone()) for site in targets.values() for t in (site.mean, site.var)]

    def observe(name: str, site: SiteTensors, x: Tensor) -> None:
        n = len(x)
        flat = x.float().flatten(2)
        mean_i = flat.mean(2)
        mean = mean_i.mean(0)
        square_i = (flat - mean[None, :, None]).square().mean(2)
        var = square_i.mean(0)
        source = site.var.clone()
        gap = (mean - site.mean).square() / source
        noise = mean_i.var(0) / n / source
        gap_sd = (var.sqrt() - source.sqrt()).square() / source
        noise_sd = square_i.var(0) / n / (4 * var.clamp(min=1e-12)) / source
        rows.append(torch.stack([t.nan_to_num().mean() for t in (gap, noise, gap_sd, noise_sd)]))
        if sequential:
            site.mean.copy_(mean)
            site.var.copy_(var)

    try:
        with observed(model, targets, None, observe):
            model(x)
    finally:
        for tensor, value in saved:
            tensor.copy_(value)
    return torch.stack(rows)


@torch.no_grad()
def hits(model: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    """Which images are classified rightly."""
    return torch.cat([model(part).argmax(1) for part in x.split(250)]) == labels


def jobs(cells: list[str], draws: int, sizes: list[int], severities: list[int]) -> Iterator[tuple[int, int, str]]:
    """Draws outermost, so that a part of the work is a fair sample."""
    for draw in range(draws):
        for size in sizes:
            for cell in cells:
                if ":" not in cell or int(cell[-1]) in severities:
                    yield draw, size, cell


def grid(folder: Path, out: Path, model: nn.Module, work: Iterable[tuple[int, int, str]], priors: list[float]) -> None:
    """Judge every prior in every cell."""
    normalize = networks.normalize
    out.mkdir(parents=True, exist_ok=True)
    for draw, size, cell in work:
        file = out / f"{cell.replace(':', '-')}.{size}.{draw}.safetensors"
        if file.exists():
            continue
        few, many, labels = drawn(folder, cell, draw)
        x, seen = normalize(few[:size]), normalize(many)
        kept = {"evidence": evidence(model, x, sequential=False), "adapted": evidence(model, x, sequential=True)}
        found, outputs = [], []
        for prior in priors:
            adaptation = renorm.adapt_(model, x, prior=prior)
            found.append(hits(model, seen, labels))
            outputs.append(adaptation.output.softmax(1))
            adaptation.undo()
        kept |= {
            "hits": torch.stack(found).to(torch.uint8),
            "outputs": torch.stack(outputs),
            "priors": torch.tensor(priors),
        }
        save_file(kept, f"{file}.part")
        Path(f"{file}.part").rename(file)


def automatic(folder: Path, out: Path, model: nn.Module, work: Iterable[tuple[int, int, str]]) -> None:
    """Judge ``prior="auto"`` on the same images."""
    out.mkdir(parents=True, exist_ok=True)
    for draw, size, cell in work:
        file = out / f"{cell.replace(':', '-')}.{size}.{draw}.auto.safetensors"
        if file.exists():
            continue
        few, many, labels = drawn(folder, cell, draw)
        adaptation = renorm.adapt_(model, networks.normalize(few[:size]), prior="auto")
        found = hits(model, networks.normalize(many), labels).to(torch.uint8)
        adaptation.undo()
        save_file({"hits": found, "weight": torch.tensor(adaptation.source_weight)}, f"{file}.part")
        Path(f"{file}.part").rename(file)


def tent(folder: Path, out: Path, model: nn.Module, work: Iterable[tuple[int, int, str]]) -> None:
    """Judge TENT and prediction-time normalization on the judged images as a stream of batches of 100, from the source each."""
    out.mkdir(parents=True, exist_ok=True)
    for draw, _, cell in work:
        file = out / f"{cell.replace(':', '-')}.{draw}.tent.safetensors"
        if file.exists():
            continue
        _, many, labels = drawn(folder, cell, draw)
        batches = networks.normalize(many).split(100)
        with renorm.Tent(model) as adapting:
            learned = torch.cat([adapting(x).argmax(1) for x in batches])
        with torch.no_grad(), renorm.prediction_time(model):
            normalized = torch.cat([model(x).argmax(1) for x in batches])
        save_file({"tent": (learned == labels).to(torch.uint8), "batch": (normalized == labels).to(torch.uint8)}, file)


def main() -> None:
    """Cache images, or judge priors."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("cache", "cache-domains", "grid", "auto", "tent"))
    parser.add_argument("cache", type=Path)
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--data")
    parser.add_argument("--source", help="the domain that was trained on")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--domains", nargs="+", help="cells, in place of the corruptions")
    parser.add_argument("--family", default="resnet20")
    parser.add_argument("--weights", type=Path)
    parser.add_argument(
        "--published", action="store_true", help="the network of others, with its own input normalization"
    )
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--judged", type=int, default=500)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32])
    parser.add_argument("--severities", type=int, nargs="+", default=list(SEVERITIES))
    parser.add_argument("--priors", type=float, nargs="+", default=[0, 8, 16, 32, 64, 128, 256, float("inf")])
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "cache":
        cache(given.cache, given.data, given.draws, given.judged)
        return
    if given.what == "cache-domains":
        cache_domains(given.cache, Path(given.data), given.source, given.size, given.draws, given.judged)
        return
    if given.published:
        networks.MEAN, networks.STD = IMAGENET
        model = renorm.models.create("resnet20", num_classes=10)
        renorm.models.load_weights(model, given.weights)
        model = model.eval().to(memory_format=torch.channels_last)
    else:
        num = load_file(given.weights)
        outputs = next(v for k, v in reversed(num.items()) if k.endswith(("linear.bias", "classifier.bias")))
        model = networks.opened(given.family, given.weights, len(outputs))
    work = jobs(given.domains or CELLS, given.draws, given.sizes, given.severities)
    if given.what == "tent":
        tent(given.cache, given.out, model, work)
    elif given.what == "auto":
        automatic(given.cache, given.out, model, work)
    else:
        grid(given.cache, given.out, model, work, given.priors)


if __name__ == "__main__":
    main()
