"""Re-centring the head of a tiny ViT that is trained here on the embedded digits: small, and labelled so.

python experiments/recentring/study.py > experiments/recentring/results.md
"""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

import renorm
from renorm.corruptions import SEVERITIES, STANDARD, corrupt
from renorm.data import load

NETWORKS = {
    "ViT (4 blocks, 64 wide, patches of 4)": lambda: VisionTransformer(
        16, 4, num_classes=10, embed_dim=64, depth=4, num_heads=4, mlp_ratio=2
    ),
}
EPOCHS, BATCH, ADAPTED, DRAWS = 25, 64, 32, 5


def train(model: nn.Module, pixels: Tensor, labels: Tensor) -> None:
    """AdamW under a one-cycle rate; each batch is moved by up to two pixels."""
    random = torch.Generator().manual_seed(0)
    steps = len(pixels) // BATCH
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.05)
    rate = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=EPOCHS * steps)
    model.train()
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(pixels), generator=random)[: steps * BATCH].split(BATCH):
            shift = torch.randint(-2, 3, (2,), generator=random).tolist()
            loss = F.cross_entropy(model(pixels[rows].roll(shift, (2, 3))), labels[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            rate.step()
    model.eval()


def ready(pixels: Tensor) -> Tensor:
    """What the networks take."""
    return (pixels.float() / 255 - 0.5) / 0.5


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, labels: Tensor) -> float:
    """In percent."""
    return 100 * float((model(x).argmax(1) == labels).double().mean())


def main() -> None:
    """Train, re-centre under every corruption, print a table."""
    torch.set_num_threads(1)
    pixels, labels = (lambda d: d.batch(range(len(d))))(load("digits", split="train"))
    test, truth = (lambda d: d.batch(range(len(d))))(load("digits", split="test"))
    print("| network | cells | source | re-centred (NEO) | with a reference | kept the source |")
    print("|---|---|---|---|---|---|")
    for name, make in NETWORKS.items():
        torch.manual_seed(0)
        model = make()
        train(model, ready(pixels), labels)
        home, found = ready(pixels[:64]), {}
        for kind, severity in [("clean", 0), *((kind, s) for kind in STANDARD for s in SEVERITIES)]:
            seeds = torch.arange(len(test))
            x = ready(corrupt(test, kind, severity, seeds) if severity else test)
            for draw in range(DRAWS):
                order = torch.randperm(len(x), generator=torch.Generator().manual_seed(draw))
                few, others = order[:ADAPTED], order[ADAPTED:]
                row = [accuracy(model, x[others], truth[others])]
                for reference in (None, home):
                    report = renorm.recenter_(model, x[few], reference=reference)
                    row.append(accuracy(model, x[others], truth[others]))
                    kept = report.verdict == "home"
                    report.undo()
                found.setdefault("clean" if not severity else "corrupted", []).append([*row, 100.0 * kept])
        for cells, rows in found.items():
            means = torch.tensor(rows).mean(0).tolist()
            count = len(rows) // DRAWS
            print(
                f"| {name} | {cells} ({count} x {DRAWS} draws) | "
                + " | ".join(f"{m:.1f}" for m in means)
                + " % of draws |"
            )


if __name__ == "__main__":
    main()
