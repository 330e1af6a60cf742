"""Which rows of a site belong to which sample of the batch: said, or the same, and never guessed from a shape."""

from __future__ import annotations

import torch

from renorm.routing.selection import BySample, RowOrder, Selection

ORDERS: dict[str | None, RowOrder | None] = {None: None, "sample": "sample", "time": "time", "copies": "time"}


def order_of(folded: str | None) -> RowOrder | None:
    """The order of rows by the word for it."""
    if folded not in ORDERS:
        raise ValueError(
            f"folded={folded!r} was given. It says how rows are ordered where a layer sees several for each sample. Use 'sample' "
            f"(those of a sample follow each other), 'time' or 'copies' (whole batches follow each other)."
        )
    return ORDERS[folded]


def said(selection: Selection, folded: str | None, size: int | None) -> Selection:
    """The selection with what the user said of rows and samples, checked."""
    selection.order = order_of(folded)
    if size is not None and (not isinstance(size, int) or isinstance(size, bool) or size < 0):
        raise ValueError(f"size={size!r} was given. It is the number of samples in a batch. Give an integer >= 0.")
    own = len(selection.labels) if isinstance(selection, BySample) else size
    if size is not None and own != size:
        raise ValueError(
            f"size={size} was given to a route that divides {own} samples. They are the samples of one batch. "
            f"Give labels or block sizes for each of them."
        )
    selection.samples = None if size is None else torch.empty(size, 0, device="cpu")
    return selection


def followed(selection: Selection, n: int, batch: int | None, site: str) -> Selection:
    """How the ``n`` rows of a site are divided, in a forward of a batch of so many samples (unknown if None)."""
    if selection.beside == 1:
        return selection
    size = _samples(selection, n, batch, site)
    if n == size:
        return selection
    if size == 0 or n % size:
        raise ValueError(
            f"site {site!r} got {n} rows in a batch of {size} samples, not as many for each. Rows that are no samples can only "
            f"follow a route of one branch. Use one, or leave this site out of the conversion by sites=."
        )
    if selection.order is None:
        raise ValueError(
            f"site {site!r} got {n} rows in a batch of {size} samples. Which {n // size} belong to which sample is not guessed. "
            f"Say it: route(..., folded='sample') where those of a sample follow each other, 'time' (or 'copies') where whole "
            f"batches do."
        )
    return selection.folded(n // size, selection.order, size)


def _samples(selection: Selection, n: int, batch: int | None, site: str) -> int:
    """The number of samples that the selection divides, checked against the batch."""
    batch = batch if selection.samples is None else selection.samples.shape[0]
    if batch is None and not selection.sized:
        raise ValueError(
            f"site {site!r} got {n} rows, and the size of the batch is not known: the model was called with something else than "
            f"a tensor, or in part. Interleaving and labels divide samples. Say how many: route(..., size=N)."
        )
    own = len(selection.labels) if isinstance(selection, BySample) else None
    size = own if batch is None else batch
    assert size is not None
    if own is not None and own != size:
        raise ValueError(
            f"the route divides {own} samples, of a batch of {size} (site {site!r}). A route divides the whole batch. "
            f"Give the sizes or labels of this batch."
        )
    if own is None and not torch.compiler.is_compiling() and size % selection.beside:
        raise ValueError(
            f"a batch of {size} cannot be interleaved over {selection.beside} branches (site {site!r}). "
            f"Interleaving needs a multiple of {selection.beside}. Set drop_last=True in the DataLoader, or route "
            f"blocks: route(model, {{name: size, ...}})."
        )
    return size
