"""How often a stream of the model's own images is taken for changed: 10,000 clean CIFAR-10 test images, in three random orders.

    python experiments/rectify/photographs/false_alarms.py --data DATA

The test looks at the first site only, so the network is cut behind it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from material import network
from torch import nn

import renorm
from renorm.data import load


def main() -> None:
    """Count alarms, by the size of the batches that are compared."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--orders", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    net = network("resnet20", given.data)
    cut = nn.Sequential(net.model.get_submodule("conv1"), net.model.get_submodule("bn1")).eval()
    data = load(str(net.data))
    for size in (16, 32):
        blocks = alarms = 0
        for seed in range(given.orders):
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed))
            with renorm.Adapter(cut, foreign="adapt") as adapter:
                for rows in order.split(size):
                    adapter(net.normalized(data.batch(rows)[0]))
                alarms += sum(event.what == "changed" for event in adapter.events)
                blocks += len(order) // size - 1
        print(f"blocks of {size}: {alarms} alarms in {blocks} comparisons, {100 * alarms / blocks:.2f} %")


if __name__ == "__main__":
    main()
