"""The ledger stores the last scan of each project: facts, history and counters.

The effects of one poll are written in one transaction before they are published: an exposed counter never decreases.
"""

import logging
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Protocol

from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.record import ProjectScan

log = logging.getLogger(__name__)


class Ledger(Protocol):
    """Stores the last scan of each project."""

    @property
    def persistent(self) -> bool:
        """Whether what is saved now survives a restart."""

    def scans(self) -> Mapping[str, ProjectScan]:
        """The scans saved before the start, by project."""

    def last_scan(self, project: str) -> ProjectScan | None:
        """The last scan of a project, which may not have been a target for a while."""

    def save(self, project: str, scan: ProjectScan) -> None:
        """Replace the project's scan. A failure is logged, and shown by `persistent`."""

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete projects that are not targeted and were last read more than a week ago."""

    def close(self) -> None:
        """Release the state folder. Nothing can be saved afterwards."""


class MemoryLedger:
    """A ledger that lives as long as the process."""

    persistent = False

    def __init__(self) -> None:
        self._scans: dict[str, ProjectScan] = {}

    def scans(self) -> Mapping[str, ProjectScan]:
        """None: nothing was saved before the start."""
        return {}

    def last_scan(self, project: str) -> ProjectScan | None:
        """The last scan of a project."""
        return self._scans.get(project)

    def save(self, project: str, scan: ProjectScan) -> None:
        """Replace the project's scan."""
        self._scans[project] = scan

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete expired projects."""
        for project in expired_projects(self._scans, targeted, now):
            del self._scans[project]

    def close(self) -> None:
        """Do nothing: there is no folder."""


def expired_projects(scans: Mapping[str, ProjectScan], targeted: Collection[str], now: datetime) -> list[str]:
    """Projects that are not targeted and were last read more than a week ago."""
    return [project for project, scan in scans.items() if project not in targeted and now - scan.read_at > EXPIRE_AFTER]
