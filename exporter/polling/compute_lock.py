"""A lock under which polls parse responses one at a time."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

from exporter.polling.shared_plans import SharedPlans
from exporter.scan.source import Page, Source

T = TypeVar("T")


class ComputeLockedSource:
    """A Source that releases the compute lock while it waits for the API.

    Under the global interpreter lock, parsing in parallel gains nothing, and delays scrapes.
    """

    def __init__(self, source: Source, lock: threading.Lock, plans: SharedPlans | None = None) -> None:
        """`lock` is held by the thread that reads. Backup plans are read through `plans`, if given."""
        self._source, self._lock, self._plans = source, lock, plans

    def instances(self, project: str) -> Iterator[Page]:
        """As Source.instances."""
        return self._pages(self._source.instances(project))

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """As Source.backup_runs."""
        return self._pages(self._source.backup_runs(project, instance, newest=newest))

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        """As Source.backup_run."""
        return self._unlocked(lambda: self._source.backup_run(project, instance, run_id))

    def recovery_times(self, project: str, instance: str) -> bytes | None:
        """As Source.recovery_times; reading them needs no lock."""
        return self._source.recovery_times(project, instance)

    def backups(self, project: str) -> Iterator[Page]:
        """As Source.backups."""
        return self._pages(self._source.backups(project))

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        """As Source.backup_plan_associations."""
        return self._pages(self._source.backup_plan_associations(project))

    def backup_plans(self, project: str) -> Iterator[Page]:
        """As Source.backup_plans."""
        source = self._source
        return self._pages(self._plans.pages(source, project) if self._plans else source.backup_plans(project))

    def _pages(self, pages: Iterator[Page]) -> Iterator[Page]:
        while page := self._unlocked(lambda: next(pages, None)):
            yield page

    def _unlocked(self, wait: Callable[[], T]) -> T:
        self._lock.release()
        try:
            return wait()
        finally:
            self._lock.acquire()
