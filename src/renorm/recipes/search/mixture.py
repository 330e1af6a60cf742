"""What a mixture is worth, and what it has found."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from renorm.data import CellTable, Images
from renorm.models import EDGES, OPERATIONS, Cell, Classifier, Supernet


@torch.no_grad()
def predicted(classifier: Classifier, images: Images) -> tuple[Tensor, Tensor]:
    """Of the mixture, whose conditions are the largest weights: the loss of each image, and whether it is right, ``(N,)``."""
    losses, hits = [], []
    for indices in torch.arange(len(images)).split(500):
        pixels, labels = images.batch(indices)
        y = classifier.model(classifier.normalize(pixels)).double().cpu()
        losses.append(F.cross_entropy(y, labels, reduction="none"))
        hits.append((y.argmax(1) == labels).double())
    return torch.cat(losses), torch.cat(hits)


def mixture_numbers(net: Supernet, table: CellTable | None) -> dict[str, float]:
    """The weight of each operation on each edge, their mean entropy in nats, and the cell of the largest weights."""
    weights = net.alpha.detach().double().cpu().softmax(1)
    names = [f"weight/{end}<-{start}/{operation}" for end, start in EDGES for operation in OPERATIONS]
    numbers = dict(zip(names, weights.flatten().tolist(), strict=True))
    numbers["entropy"] = float(-(weights * weights.log()).sum(1).mean())
    numbers["free_edges"] = float(net.found.free_edges)
    if table is not None:
        numbers |= {"table/accuracy": table.accuracy(net.found) / 100, "table/percentile": table.percentile(net.found)}
    return numbers


def cell_of(record: Mapping[str, float]) -> Cell:
    """The cell that a record of an epoch found."""
    rows = [[record[f"weight/{end}<-{start}/{operation}"] for operation in OPERATIONS] for end, start in EDGES]
    return Cell.numbered([max(range(len(row)), key=row.__getitem__) for row in rows])
