"""Evaluating on several processes: each takes some of the shifts, all end with the whole table."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import torch.distributed as dist

from renorm.evaluate.partial import TablePart

PATIENCE = timedelta(hours=24)  # ranks wait for the one with the slowest shifts


def meet() -> dist.ProcessGroup:
    """A group of all processes, for tables only, that waits as long as the slowest takes; they wait for each other here."""
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup)
    dist.barrier(group)
    return group


def place(group: dist.ProcessGroup | None) -> tuple[int, int]:
    """Number of this process and how many there are."""
    return (0, 1) if group is None else (dist.get_rank(group), dist.get_world_size(group))


def from_first(parts: Mapping[int, TablePart], group: dist.ProcessGroup | None) -> dict[int, TablePart]:
    """What the first process has, on all; their disks may differ."""
    if group is None:
        return dict(parts)
    box = [dict(parts)]
    dist.broadcast_object_list(box, group_src=0, group=group)
    return box[0]


def from_all(parts: Mapping[int, TablePart], group: dist.ProcessGroup | None) -> dict[int, TablePart]:
    """What the processes have together, on all."""
    if group is None:
        return dict(parts)
    boxes: list[dict[int, TablePart]] = [{} for _ in range(dist.get_world_size(group))]
    dist.all_gather_object(boxes, dict(parts), group=group)
    return {number: part for box in boxes for number, part in box.items()}
