"""Moment exchange on point clouds, (N, C, P): after the first set abstraction of a small PointNet++, as published.

    python examples/03_exchange_on_point_clouds.py

A cloud is the 32 darkest of the 64 pixels of a scikit-learn digit as points (x, y, ink), in no order, and the network names the
digit. Real images, but no scans of objects: a test of the shapes, not evidence that exchange helps. Seconds on one core.
"""

import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

import renorm

POINTS = 32


class SetAbstraction(nn.Module):
    """Points and their features as fewer points: each pools what a shared layer sees of the neighbours around it.

    Shape: places ``(N, 3, P)`` and features ``(N, C, P)`` to ``(N, 3, S)`` and ``(N, wider, S)``.
    """

    def __init__(self, channels, wider, centres, neighbours):
        super().__init__()
        self.centres, self.neighbours = centres, neighbours
        self.shared = nn.Sequential(nn.Conv2d(3 + channels, wider, 1), nn.BatchNorm2d(wider), nn.ReLU())
        self.pooled = nn.Identity()  # a name for the features: an exchange needs a layer that gives one tensor

    def forward(self, places, features):
        few = places[:, :, : self.centres]  # the clouds are in random order
        distances = torch.cdist(few.transpose(1, 2), places.transpose(1, 2))
        near = distances.topk(self.neighbours, largest=False).indices.flatten(1)[:, None]  # (N, 1, S * k)

        def around(x):
            return x.gather(2, near.expand(-1, x.shape[1], -1)).unflatten(2, (-1, self.neighbours))

        grouped = torch.cat([around(places) - few[..., None], around(features)], 1)
        return few, self.pooled(self.shared(grouped).amax(3))


class PointNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = SetAbstraction(3, 32, centres=16, neighbours=8)
        self.last = nn.Sequential(nn.Conv1d(35, 64, 1), nn.BatchNorm1d(64), nn.ReLU(), nn.AdaptiveMaxPool1d(1))
        self.head = nn.Linear(64, 10)

    def forward(self, points):
        places, features = self.first(points, points)
        return self.head(self.last(torch.cat([places, features], 1)).flatten(1))


def clouds():
    digits = load_digits()
    ink = torch.tensor(digits.data).float() / 16 + torch.rand(len(digits.data), 64) / 100  # ties are drawn by lot
    darkest = ink.topk(POINTS).indices[:, torch.randperm(POINTS)]
    points = torch.stack([darkest % 8 / 4 - 1, darkest // 8 / 4 - 1, ink.gather(1, darkest)], 1)
    return points, torch.tensor(digits.target)


def main():
    torch.manual_seed(0)
    points, labels = clouds()
    for probability in (0.0, 0.5):
        torch.manual_seed(1)
        model = PointNet()
        mix = renorm.MomentExchange(model, after="first.pooled", over="in", weight=0.9, probability=probability)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        for rows in (rows for _ in range(5) for rows in torch.randperm(1200).split(48)):
            optimizer.zero_grad()
            mix.loss(F.cross_entropy, model(mix(points[rows])), labels[rows]).backward()
            optimizer.step()
        accuracy = (model.eval()(points[1200:]).argmax(1) == labels[1200:]).double().mean()
        print(f"exchange with probability {probability}: accuracy on {len(points) - 1200} other digits {accuracy:6.1%}")


if __name__ == "__main__":
    main()
