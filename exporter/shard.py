"""Which part of the work is this process's, where several share it. Pure.

Rendezvous hashing: each project, or instance, goes to the shard that draws the highest number for it. With one shard
more, only what goes to the new one moves; the others keep theirs, and their counters.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Literal

from exporter.model import InstanceId

By = Literal["project", "instance"]

_ORDINAL = re.compile(r".*-(\d+)")  # of a pod of a StatefulSet


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `total` shards, counted from 0."""

    index: int = 0
    total: int = 1
    by: By = "project"

    def holds_project(self, project: str) -> bool:
        """Something of a project may be this shard's."""
        return self.by == "instance" or _drawn(project, self.total) == self.index

    def holds(self, instance: InstanceId) -> bool:
        """An instance is this shard's, and no other's."""
        return _drawn(instance.project if self.by == "project" else str(instance), self.total) == self.index


def ordinal(host_name: str) -> int | None:
    """The index that the name of a StatefulSet's pod ends in."""
    found = _ORDINAL.fullmatch(host_name)
    return int(found[1]) if found else None


def chosen(index: int | None, total: int, by: By, host_name: str) -> Shard:
    """The shard that flags name; where they name none of several, the name of the pod does. Raises ValueError."""
    source = "--shard.index"
    if index is None and total > 1:
        index, source = ordinal(host_name), f"the host name {host_name!r}"
        if index is None:
            raise ValueError(f"--shard.index is missing, and {source} does not end in a number, as a pod's would")
    if index is not None and index >= total:
        raise ValueError(f"{source} says shard {index}, but of {total} the last is {total - 1}")
    return Shard(index or 0, total, by)


@lru_cache(maxsize=1 << 16)
def _drawn(key: str, total: int) -> int:
    def number(index: int) -> bytes:
        return blake2b(f"{index} {key}".encode(), digest_size=8).digest()

    return max(range(total), key=number)
