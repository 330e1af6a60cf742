"""How far photographs are from EfficientNet-Lite0 and Lite1: as they are, corrupted, and wrongly prepared.

    python experiments/verdict/collect.py lite0 OUT --data DATA/imagenet/photos.parquet

For clean images and every cell of 19 corruptions and 5 severities, in draws of 32 images: the gap and the noise of every
site, ``(D, 2, S, 2)``, for the images as they should be and with red and blue exchanged; the moments of each image at the first
site, ``(V, N, C, 2)``, for all ``WAYS`` to prepare them; and each image's least and greatest value of every colour.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from networks import SIZES, opened, photographs
from safetensors.torch import save_file
from torch import Tensor, nn

from renorm.adapt import evidence
from renorm.adapt.preparation import middle
from renorm.banks import SiteTensors, observed, site_tensors
from renorm.corruptions import CORRUPTIONS, SEVERITIES, corrupt

DRAW = 32
IMAGENET_MEAN, IMAGENET_STD = (torch.tensor(t).view(3, 1, 1) for t in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
WAYS = {
    "right": lambda x: x * 2 - 1,
    "bgr": lambda x: x.flip(1) * 2 - 1,
    "0..1": lambda x: x,
    "0..255": lambda x: x * 255,
    "imagenet": lambda x: (x - IMAGENET_MEAN) / IMAGENET_STD,
}


class Enough(Exception):  # noqa: N818 (no error: it ends a forward at the first site)
    """The first site has been seen."""


def first_site(model: nn.Module, x: Tensor) -> Tensor:
    """Mean and variance at the first site of each image's middle. Shape: ``(N, C, 2)``."""
    found = []

    def observe(name: str, site: SiteTensors, y: Tensor) -> None:
        var, mean = torch.var_mean(y, dim=(2, 3), correction=0)
        found.append(torch.stack([mean, var], -1))
        raise Enough

    for part in x.split(16):
        try:
            with observed(model, site_tensors(model, None), None, observe):
                model(middle(part))
        except Enough:
            pass
    return torch.cat(found)


def everywhere(model: nn.Module, x: Tensor) -> Tensor:
    """The gap and the noise of each site. Shape: ``(S, 2)``."""
    found = evidence(model, x, site_tensors(model, None), None, len(x))
    return torch.stack([found.gap, found.noise], -1)


def main() -> None:
    """Collect one network's."""
    parser = argparse.ArgumentParser()
    parser.add_argument("network", choices=tuple(SIZES))
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", required=True)
    parser.add_argument("--draws", type=int, default=1, help="of each corrupted cell")
    parser.add_argument("--clean-draws", type=int, default=6)
    parser.add_argument("--severities", type=int, nargs="+", default=list(SEVERITIES))
    given = parser.parse_args()
    torch.set_num_threads(1)
    model = opened(given.network)
    pixels, _ = photographs(given.data, SIZES[given.network])
    given.out.mkdir(parents=True, exist_ok=True)
    cells = [("clean", 0), *((name, severity) for severity in SEVERITIES for name in CORRUPTIONS)]
    order = torch.randperm(len(pixels), generator=torch.Generator().manual_seed(0))
    for k, (name, severity) in enumerate(cells):
        file = given.out / f"{name}.{severity}.safetensors"
        if file.exists() or severity not in (0, *given.severities):
            continue
        draws = given.draws if severity else given.clean_draws
        rows = order.roll(-k * DRAW * draws)[: DRAW * draws]
        x = corrupt(pixels[rows], name, severity, rows) if severity else pixels[rows]
        save_file(
            {
                "sites": torch.stack(
                    [
                        torch.stack([everywhere(model, WAYS[w](part)) for w in ("right", "bgr")])
                        for part in x.split(DRAW)
                    ]
                ),
                "moments": torch.stack([first_site(model, way(x)) for way in WAYS.values()]),
                "ends": torch.stack([x.amin((2, 3)), x.amax((2, 3))], -1),
                "colors": x.mean((2, 3)),
            },
            file,
        )
        print(name, severity, flush=True)


if __name__ == "__main__":
    main()
