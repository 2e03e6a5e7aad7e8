"""The ledger stores the last scan of each project: facts, history and counters.

The effects of one poll are written in one transaction before they are published: an exposed counter never decreases.
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Protocol

from exporter.facts.collected import Collected
from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.daily import DailyRecord, InstanceDay, ProjectDay
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import SavedSearch

log = logging.getLogger(__name__)

MAX_DAYS_IN_MEMORY = 14


class Ledger(Protocol):
    """Stores the last scan of each project, and its daily record."""

    @property
    def persistent(self) -> bool:
        """Whether what is saved now survives a restart."""

    def scans(self) -> Mapping[str, ProjectScan]:
        """The scans saved before the start, by project."""

    def last_scan(self, project: str) -> ProjectScan | None:
        """The last scan of a project, which may not have been a target for a while."""

    def collected(self, project: str) -> Collected:
        """What was last collected about a project, without the status."""

    def searches(self) -> Mapping[str, SavedSearch]:
        """What each search had found before the start, by its query."""

    def daily_record(self, project: str) -> DailyRecord | None:
        """The last daily record of a project."""

    def days(self, project: str, instance: str, first: date, last: date) -> Sequence[tuple[ProjectDay, InstanceDay]]:
        """The recorded days of an instance, from one to another, oldest first."""

    def save(
        self,
        project: str,
        scan: ProjectScan | None,
        days: Sequence[DailyRecord] = (),
        collected: Collected | None = None,
    ) -> None:
        """Replace the project's scan and collected facts, if given, and its daily record by these of consecutive days.

        A failure is logged, and shown by `persistent`.
        """

    def save_search(self, query: str, search: SavedSearch | None) -> None:
        """Replace what a search found; None deletes the search."""

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete projects that are not targeted and were last read more than a week ago."""

    def close(self) -> None:
        """Release the state folder. Nothing can be saved afterwards."""


class MemoryLedger:
    """A ledger that lives as long as the process."""

    persistent = False

    def __init__(self) -> None:
        self._scans: dict[str, ProjectScan] = {}
        self._days: dict[str, dict[date, DailyRecord]] = {}
        self._collected: dict[str, Collected] = {}

    def scans(self) -> Mapping[str, ProjectScan]:
        """None: nothing was saved before the start."""
        return {}

    def last_scan(self, project: str) -> ProjectScan | None:
        """The last scan of a project."""
        return self._scans.get(project)

    def collected(self, project: str) -> Collected:
        """What was last collected about a project."""
        return self._collected.get(project, Collected())

    def searches(self) -> Mapping[str, SavedSearch]:
        """None: nothing was saved before the start."""
        return {}

    def daily_record(self, project: str) -> DailyRecord | None:
        """The last daily record of a project."""
        return next(reversed(self._days.get(project, {}).values()), None)

    def days(self, project: str, instance: str, first: date, last: date) -> Sequence[tuple[ProjectDay, InstanceDay]]:
        """The recorded days of an instance, with the outcomes that became known later."""
        found: dict[date, tuple[ProjectDay, InstanceDay]] = {}
        for day, record in list(self._days.get(project, {}).items()):  # a poll may add a day meanwhile
            for (earlier, name), outcome in record.later_outcomes.items():
                if name == instance and earlier in found:
                    found[earlier] = (found[earlier][0], replace(found[earlier][1], outcome=outcome))
            if first <= day <= last and instance in record.instances:
                found[day] = (record.project, record.instances[instance])
        return list(found.values())

    def save(
        self,
        project: str,
        scan: ProjectScan | None,
        days: Sequence[DailyRecord] = (),
        collected: Collected | None = None,
    ) -> None:
        """Replace the project's scan, what was collected, and its daily record."""
        if scan:
            self._scans[project] = scan
        if collected:
            self._collected[project] = collected
        records = self._days.setdefault(project, {})
        records.update({record.project.day: record for record in days})
        for day in list(records)[:-MAX_DAYS_IN_MEMORY]:
            del records[day]

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete expired projects."""
        for project in expired_projects(self._scans, targeted, now):
            del self._scans[project]
            self._collected.pop(project, None)

    def save_search(self, query: str, search: SavedSearch | None) -> None:
        """Do nothing: it would not survive a restart."""

    def close(self) -> None:
        """Do nothing: there is no folder."""


def expired_projects(scans: Mapping[str, ProjectScan], targeted: Collection[str], now: datetime) -> list[str]:
    """Projects that are not targeted and were last read more than a week ago."""
    return [project for project, scan in scans.items() if project not in targeted and now - scan.read_at > EXPIRE_AFTER]
