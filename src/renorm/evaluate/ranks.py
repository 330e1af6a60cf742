"""Evaluating on several processes: each takes some of the shifts, all end with the whole table."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, TypeVar

import torch.distributed as dist

T = TypeVar("T")

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


def from_first(value: T, group: dist.ProcessGroup | None) -> T:
    """What the first process has, on all; their disks may differ."""
    if group is None:
        return value
    box = [value]
    dist.broadcast_object_list(box, group_src=0, group=group)
    return box[0]


def from_all(value: T, group: dist.ProcessGroup | None) -> list[T]:
    """What each process has, on all, in their order."""
    if group is None:
        return [value]
    found: list[Any] = [None] * dist.get_world_size(group)
    dist.all_gather_object(found, value, group=group)
    return found
