"""Small networks with random weights, and their files."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from renorm.models import Decoder, Encoder

WIDTHS = (2, 2, 3, 3, 4, 4, 4, 4, 6)


def files(folder: Path, seed: int = 0) -> tuple[Path, Path]:
    """The files of an encoder and a decoder."""
    torch.manual_seed(seed)
    paths = folder / f"encoder{seed}.safetensors", folder / f"decoder{seed}.safetensors"
    for path, network in zip(paths, (Encoder(WIDTHS), Decoder(WIDTHS)), strict=True):
        for p in network.parameters():
            torch.nn.init.kaiming_normal_(p) if p.ndim == 4 else torch.nn.init.uniform_(p, 0, 0.3)
        save_file(network.state_dict(), path)
    return paths
