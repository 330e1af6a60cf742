"""How often images are wrongly called foreign, and foreign ones not, by network and way to prepare them.

    python experiments/verdict/judge.py OUT/lite0 OUT/lite1 > experiments/verdict/results.md

The constants are the library's; what is compared was collected by ``collect.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from collect import DRAW, WAYS
from networks import opened
from safetensors.torch import load_file
from torch import Tensor

from renorm.adapt.preparation import (
    EXCHANGED,
    FAR,
    FEW,
    LARGE,
    PREPARATIONS,
    FirstLook,
    nearer,
    nearer_by_colour,
    other_preparations,
)

OF = dict(zip(("0..255", "0..1", "right", "imagenet"), PREPARATIONS, strict=True))


def look(moments: Tensor, mean: Tensor, scale: Tensor) -> FirstLook:
    """What :func:`renorm.adapt.preparation.first_look` sees. Shape: ``(N, C, 2)``."""
    means, var = moments[..., 0], moments[..., 1].mean(0) + moments[..., 0].var(0, correction=0)
    gap, noise = (means.mean(0) - mean).square() / scale, means.var(0) / len(means) / scale
    spread = ((var + 1e-3).sqrt() - scale.sqrt()).square() / scale
    by_means = (gap.mean() - noise.mean()).clamp(min=0)
    return FirstLook(*torch.stack([by_means, by_means + spread.mean(), noise.mean()]).sqrt().tolist())


def why(way: str, first: dict[str, FirstLook], ends: Tensor, sites: Tensor) -> str:
    """Why images prepared in a way are called foreign; empty where they are not."""
    was = OF["right" if way == "bgr" else way]
    low, high = was.done(ends[..., 0].T[..., None]).amin((1, 2)), was.done(ends[..., 1].T[..., None]).amax((1, 2))
    tried = [key for _, p in other_preparations(low, high) for key, other in OF.items() if other is p]
    if any(nearer(first[key], first[way]) for key in tried):
        return "normalization"
    if first[way].whole > FAR and max(-float(low.min()), float(high.max())) > LARGE:
        return "range"
    if way in ("right", "bgr"):
        other = {"right": "bgr", "bgr": "right"}[way]
        gain = (sites[0, :, 0] / sites[1, :, 0]).log().mean() * (1 if way == "right" else -1)
        if nearer_by_colour(first[other], first[way]) and gain > EXCHANGED:
            return "order of colours"
    return ""


def verdicts(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Of every draw: its cell, the way the images were prepared, and why they are called foreign."""
    norm = opened(folder.name).bn1
    mean, scale = norm.running_mean, norm.running_var + norm.eps
    assert norm.eps == 1e-3
    for file in sorted(folder.glob("*.safetensors")):
        found = load_file(file)
        for d, sites in enumerate(found["sites"]):
            rows, shown = slice(d * DRAW, (d + 1) * DRAW), slice(d * DRAW, d * DRAW + FEW)
            first = {way: look(m[shown], mean, scale) for way, m in zip(WAYS, found["moments"], strict=True)}
            for way in WAYS:
                yield file.name.removesuffix(".safetensors"), way, why(way, first, found["ends"][rows], sites)


def main() -> None:
    """Print the table."""
    print("| network | prepared | images | draws | called foreign | cells |\n|---|---|---|---|---|---|")
    for folder in map(Path, sys.argv[1:]):
        found = list(verdicts(folder))
        for way in WAYS:
            for clean in (True, False):
                own = [(cell, reason) for cell, kind, reason in found if kind == way and (cell == "clean.0") == clean]
                foreign = [cell for cell, reason in own if reason]
                which = [c for c, reason in own if bool(reason) == (way == "right")]
                shown = ", ".join(sorted(set(which))[:12]) if len(set(which)) <= 12 else f"{len(set(which))} cells"
                label = "clean" if clean else "corrupted"
                wrong = "wrongly: " if way == "right" else "missed: "
                print(
                    f"| {folder.name} | {way} | {label} | {len(own)} | {len(foreign)} ({len(foreign) / max(len(own), 1):.1%}) | "
                    f"{wrong + shown if which else ''} |"
                )


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
