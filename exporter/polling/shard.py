"""Sharding: the part of the work of this process, where several share it. Pure.

Rendezvous hashing: each project, or instance, belongs to the shard with the highest hash for it. With another shard,
only what belongs to the new one moves; all else stays where it is, with its counters.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from exporter.facts.model import InstanceId

By = Literal["project", "instance"]

_ORDINAL = re.compile(r".*-(\d+)")  # of a pod of a StatefulSet


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `total` shards, counted from 0."""

    index: int = 0
    total: int = 1
    by: By = "project"

    def holds_project(self, project: str) -> bool:
        """Whether instances of a project can belong to this shard."""
        return self.by == "instance" or _owner(project, self.total) == self.index

    def holds(self, instance: InstanceId) -> bool:
        """Whether an instance belongs to this shard."""
        return _owner(instance.project if self.by == "project" else str(instance), self.total) == self.index


def ordinal(host_name: str) -> int | None:
    """The index at the end of the name of a StatefulSet's pod."""
    match = _ORDINAL.fullmatch(host_name)
    return int(match[1]) if match else None


def from_flags(index: int | None, total: int, by: By, host_name: str) -> Shard:
    """The shard given by flags; without --shard.index, by the name of the pod. Raises ValueError."""
    source = "--shard.index"
    if index is None and total > 1:
        index, source = ordinal(host_name), f"the host name {host_name!r}"
        if index is None:
            raise ValueError(
                f"--shard.index is missing, and {source} does not end in a number like that of a StatefulSet's pod"
            )
    if index is not None and index >= total:
        raise ValueError(f"{source} gives shard {index}, but the shards are 0 to {total - 1}")
    return Shard(index or 0, total, by)


@lru_cache(maxsize=1 << 16)
def _owner(key: str, total: int) -> int:
    def number(index: int) -> bytes:
        return blake2b(f"{index} {key}".encode(), digest_size=8).digest()

    return max(range(total), key=number)
