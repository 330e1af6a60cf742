"""Give a generator of your own classes, by converting its norms, and look at what each kind of statistics makes.

    python examples/06_classes_in_a_gan.py

The generator is plain PyTorch and knows nothing of classes: a sandwich in the place of its first two norms does. It trains for
some seconds on scikit-learn's digits at 8 pixels, far too short for good pictures. Then its kernel distance from other digits
(of pixels, smaller is better) by the statistics that training left, and by those measured on what it makes now; a class is
folded into a plain generator. About 10 s on one core; needs `pip install '.[recipes]'`.
"""

import copy

import torch
import torch.nn as nn
import torch.nn.functional as F

import renorm
from renorm.metrics import kid

STEPS, BATCH, LATENT = 150, 32, 16
CLASSES = [str(digit) for digit in range(10)]


class Critic(nn.Module):
    """A score of a picture, and how it goes with the class."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.LeakyReLU(0.2), nn.Linear(64, 32), nn.ReLU())
        self.score, self.classes = nn.Linear(32, 1), nn.Embedding(10, 32)

    def forward(self, x, labels):
        features = self.features(x)
        return self.score(features)[:, 0] + (self.classes(labels) * features).sum(1)


def plain_generator():
    return nn.Sequential(
        nn.Linear(LATENT, 32 * 4), nn.Unflatten(1, (32, 2, 2)), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(32, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(32, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 1, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


torch.manual_seed(0)
digits = renorm.data.load("digits", split="train", size=8)
pixels, labels = digits.batch(range(len(digits)))
real = pixels[:, :1] / 127.5 - 1

G, D = plain_generator(), Critic()
report = renorm.sandwich_(G, CLASSES, sites=["2", "6"], init="published", generator=torch.Generator().manual_seed(0))
print(report)
adam = [torch.optim.Adam(net.parameters(), 1e-3, (0.0, 0.9)) for net in (D, G)]

for _ in range(STEPS):
    for optimizer in adam[:1] * 2 + adam[1:]:
        z, drawn, some = torch.randn(BATCH, LATENT), torch.randint(10, (BATCH,)), torch.randint(len(real), (BATCH,))
        with renorm.route(G, drawn):
            made = G(z)
        if optimizer is adam[0]:
            loss = F.relu(1 - D(real[some], labels[some])).mean() + F.relu(1 + D(made.detach(), drawn)).mean()
        else:
            loss = -D(made, drawn).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

G.eval()
z, drawn = torch.randn(500, LATENT), torch.arange(500) % 10
others = real[torch.randperm(len(real))[:500]].flatten(1)
for name in ("as training left them", "measured"):
    if name == "measured":
        batches = list(zip(torch.randn(512, LATENT).split(64), (torch.arange(512) % 10).split(64), strict=True))
        renorm.recalibrate_(G, batches, route=lambda batch: batch[1], forward=lambda net, batch: net(batch[0]))
    with torch.no_grad(), renorm.route(G, drawn):
        print(f"statistics {name}: KID[pixels, n=500] {kid(others, G(z).flatten(1)):.3f}")
seven = renorm.fold(copy.deepcopy(G), "7", probe=z[:4])
print(f"a plain generator of sevens: {sum(p.numel() for p in seven.parameters()):,} parameters")
