"""Moment exchange on waveforms, (N, 1, T): the rule, the layer and the loss are those for images.

    python examples/02_exchange_on_waveforms.py

A network of 1-d convolutions names which of six vowel-like sounds it hears: two resonances each, at any pitch, loudness and
noise, synthesized here. A test of the shapes, not evidence that exchange helps: that needs recordings. Seconds on one core.
"""

import torch
import torch.nn.functional as F
from torch import nn

import renorm

LENGTH, RATE = 1024, 8000
RESONANCES = ((300, 2300), (350, 800), (400, 2000), (500, 1000), (650, 1100), (750, 1300))  # Hz


def sounds(number, seed):
    """Harmonics of a voice, as loud as two resonances make them. Shape: ``(N, 1, T)`` and labels ``(N,)``."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(len(RESONANCES), (number,), generator=generator)
    pitch, loudness = (torch.rand(number, 1, generator=generator) for _ in range(2))
    harmonics = (90 + 110 * pitch) * torch.arange(1, 21)
    distances = (harmonics[:, None] - torch.tensor(RESONANCES)[labels][..., None]) / 150
    strengths = (1 / (1 + distances.square())).sum(1)
    phases = 2 * torch.pi * torch.rand(number, 20, 1, generator=generator)
    waves = (2 * torch.pi * harmonics[..., None] * torch.arange(LENGTH) / RATE + phases).sin()
    noise = 0.3 * torch.randn(number, LENGTH, generator=generator)
    return ((0.2 + loudness) * ((strengths[..., None] * waves).sum(1) + noise))[:, None], labels


def stage(channels, wider, width, stride):
    return nn.Sequential(nn.Conv1d(channels, wider, width, stride), nn.BatchNorm1d(wider), nn.ReLU())


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        stage(1, 32, 64, 8),  # (N, 32, 121): a bank of filters
        stage(32, 32, 5, 2),
        stage(32, 32, 5, 2),
        nn.AdaptiveAvgPool1d(1),
        nn.Flatten(),
        nn.Linear(32, len(RESONANCES)),
    )


def train(model, x, y, mix, steps=60):
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    for step in range(steps):
        rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(step))[:64]
        logits = model(mix(x[rows]) if mix else x[rows])
        loss = mix.loss(F.cross_entropy, logits, y[rows]) if mix else F.cross_entropy(logits, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def main():
    x, y = sounds(512, seed=0)
    unheard, labels = sounds(512, seed=1)
    for over in (None, "pono", "in", "ln"):
        model = network()
        mix = over and renorm.MomentExchange(model, after="0", over=over, weight=0.9, probability=0.5)
        train(model, x, y, mix)
        with torch.no_grad():
            accuracy = (model(unheard).argmax(1) == labels).double().mean()
        print(f"exchange {over or 'none':5s} accuracy on 512 other sounds {accuracy:6.1%}")


if __name__ == "__main__":
    main()
