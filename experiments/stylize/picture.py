"""Draw photographs in the style of others, for the documents: scikit-learn's two photographs and two patterns that are made here.

    python experiments/stylize/picture.py runs/style docs/images/style.jpg

NETWORK is the folder of a run of train-style. Rows: the content, then it in each style, which stands above.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from renorm.data import Coding
from renorm.files import write_atomically
from renorm.recipes.stylize import open_network

SIDE, GAP = 168, 6  # pixels of a picture's height, and between two


def photograph(name: str) -> Tensor:
    """One of scikit-learn's, (c) their photographers, CC BY 2.0. Shape: ``(1, 3, SIDE, W)``."""
    pixels = torch.from_numpy(load_sample_image(name).copy()).permute(2, 0, 1)[None] / 255
    width = round(SIDE * pixels.shape[3] / pixels.shape[2])
    return F.interpolate(pixels, (SIDE, width), mode="bilinear", antialias=True).clamp(0, 1)


def waves() -> Tensor:
    """Bent stripes in three colours."""
    y, x = torch.meshgrid(torch.arange(SIDE) / 11, torch.arange(252) / 11, indexing="ij")
    bent = x + 1.6 * (y / 1.3).sin() + 0.8 * (0.7 * x + y).cos()
    red, blue = (bent.sin() > 0.2).float(), ((1.7 * bent).cos() > 0.4).float()
    return torch.stack([0.1 + 0.85 * red, 0.15 + 0.5 * red * (1 - blue), 0.25 + 0.6 * blue])[None]


def cells() -> Tensor:
    """Patches of colour around random points, with dark edges."""
    generator = torch.Generator().manual_seed(3)
    points, colours = torch.rand(90, 2, generator=generator), torch.rand(90, 3, generator=generator)
    y, x = torch.meshgrid(torch.linspace(0, 1, SIDE), torch.linspace(0, 1, 252), indexing="ij")
    distances = (torch.stack([y, x], 2)[:, :, None] - points).norm(dim=3)
    nearest, which = distances.sort(dim=2)
    edge = (nearest[:, :, 1] - nearest[:, :, 0] > 0.012).float()
    return (colours[which[:, :, 0]] * edge[..., None]).permute(2, 0, 1)[None]


@torch.no_grad()
def main() -> None:
    """Write the picture."""
    net = open_network(sys.argv[1], device="cpu")
    contents = [photograph("china.jpg"), photograph("flower.jpg")]
    styles = [waves(), cells(), photograph("flower.jpg")]
    rows = [[torch.ones_like(styles[0]), *styles]]
    rows += [[content, *(net(content, net.style(style)).clamp(0, 1) for style in styles)] for content in contents]
    width = min(each.shape[3] for row in rows for each in row)
    drawn = [torch.cat([F.pad(each[..., :width], (0, GAP), value=1) for each in row], 3)[..., :-GAP] for row in rows]
    whole = torch.cat([F.pad(row, (0, 0, 0, GAP), value=1) for row in drawn], 2)[0, :, :-GAP]
    write_atomically(Path(sys.argv[2]), Coding("jpeg", 80).encode((255 * whole).round().byte()))


if __name__ == "__main__":
    main()
