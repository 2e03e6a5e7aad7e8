"""A schedule of requests about single instances, spread evenly over an interval. Knows no clock."""

import heapq
from math import inf

from exporter.facts.model import InstanceId

CATCH_UP = 0.1  # of the interval: what a longer delay leaves undone is not made up for


class Schedule:
    """When each of n instances is asked next, in seconds on the monotonic clock. Not thread-safe.

    Each is asked once per interval, and sooner after a failure; all together n times per interval, evenly spread.
    """

    def __init__(self, every: float) -> None:
        """`every` is the interval in seconds."""
        self._every = every
        self._due: dict[InstanceId, float] = {}
        self._waiting: list[tuple[float, InstanceId]] = []  # a heap, also of entries that are no longer valid
        self._failures: dict[InstanceId, int] = {}  # in succession
        self._last = -inf  # when an instance was asked last or, if that was late, should have been

    def __contains__(self, instance: InstanceId) -> bool:
        return instance in self._due

    def add(self, instance: InstanceId, due: float) -> None:
        """Add an instance, or change when it is due."""
        self._due[instance] = due
        heapq.heappush(self._waiting, (due, instance))

    def remove(self, instance: InstanceId) -> None:
        """Remove an instance, if it is there."""
        self._due.pop(instance, None)
        self._failures.pop(instance, None)

    def number_due(self, now: float) -> int:
        """The number of instances that are due."""
        return sum(due <= now for due in self._due.values())

    def take(self, now: float, *, spread: bool = True) -> InstanceId | float:
        """The instance to ask now, else the seconds until then. Without `spread`, any that is due."""
        while self._waiting:
            due, instance = self._waiting[0]
            if self._due.get(instance) != due:
                heapq.heappop(self._waiting)
                continue
            ready = max(due, self._last + self._every / len(self._due)) if spread else due
            if ready > now:
                return ready - now
            heapq.heappop(self._waiting)
            self._last = max(ready, now - CATCH_UP * self._every)
            return instance
        return inf

    def asked(self, instance: InstanceId, now: float, *, failed: bool) -> None:
        """Schedule the next request about an instance that was asked, unless it has been removed since.

        It follows a quarter of the interval after a first failure, a half after a second one in succession.
        """
        if instance not in self._due:
            return
        self._failures[instance] = self._failures.get(instance, 0) + 1 if failed else 0
        share = min(2.0 ** (self._failures[instance] - 3), 1.0) if failed else 1.0
        self.add(instance, now + share * self._every)
