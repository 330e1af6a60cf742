"""A mixture whose operations are computed side by side against the same one by one: forward and backward.

python benchmarks/supernet.py     1 CPU thread, about a minute; a GPU where there is one
"""

from unittest.mock import patch

import torch
from paired import machine, ratios
from torch.nn import functional as F

from renorm.models import Supernet
from renorm.models.supernet import NORMS, MixedCell

CASES = ((4, 3, 8, 64), (8, 1, 8, 64), (16, 1, 32, 16))  # width, cells, side in pixels, images


def main():
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    print(machine())
    print(f"{'norm':12} {'width':>5} {'cells':>5} {'pixels':>6} {'one by one ms':>14} {'side by side':>13}")
    for norm in NORMS:
        for width, cells, pixels, images in CASES:
            net = Supernet(10, width=width, cells=cells, norm=norm, generator=torch.Generator().manual_seed(0)).to(
                device
            )
            x = torch.randn(images, 3, pixels, pixels, device=device)
            target, draw = torch.randint(10, (images,), device=device), net.draw()

            def beside(net=net, x=x, target=target, draw=draw):
                torch.autograd.grad(F.cross_entropy(net(x, draw), target), list(net.parameters()), allow_unused=True)

            def apart(beside=beside):
                with patch.object(MixedCell, "_bare", False):
                    beside()

            r = ratios({"apart": apart, "beside": beside}, rounds=9, repeats=2)
            print(f"{norm:12} {width:5} {cells:5} {pixels:6} {r['ms']:14.1f} {r['beside']:13.2f}", flush=True)


if __name__ == "__main__":
    main()
