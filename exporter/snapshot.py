"""Everything known at one moment, project by project. Immutable: a poll replaces one project's entry as a whole."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.model import PollResult
from exporter.scan import ProjectScan, SourceError


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """How the polls of one project went. A failed poll keeps the last good scan."""

    project: str
    result: PollResult | None = None  # of the last poll; None before the first
    message: str = ""  # why it failed and what to do; empty after a success
    duration: timedelta = timedelta()
    scan: ProjectScan | None = None
    polls: Mapping[PollResult, int] = field(default_factory=lambda: dict.fromkeys(PollResult, 0))

    @property
    def up(self) -> bool:
        """The last poll succeeded."""
        return self.result is PollResult.SUCCESS

    @property
    def unreachable_regions(self) -> tuple[str, ...]:
        """Regions whose instances the last good scan could not see."""
        return self.scan.unreachable_regions if self.scan else ()

    @property
    def last_success(self) -> datetime | None:
        """The moment of which the facts speak."""
        return self.scan.taken if self.scan else None

    def succeeded(self, scan: ProjectScan, duration: timedelta) -> "ProjectStatus":
        """The status after a poll that read `scan`."""
        return self._after(replace(self, scan=scan, message=""), PollResult.SUCCESS, duration)

    def failed(self, error: SourceError, duration: timedelta) -> "ProjectStatus":
        """The status after a poll that failed."""
        return self._after(replace(self, message=str(error)), error.result, duration)

    def _after(self, status: "ProjectStatus", result: PollResult, duration: timedelta) -> "ProjectStatus":
        polls = {**self.polls, result: self.polls[result] + 1}
        return replace(status, result=result, duration=duration, polls=polls)


@dataclass(frozen=True, slots=True)
class SearchStatus:
    """How a search for projects went; a failed one keeps the projects found before."""

    up: bool
    projects: tuple[str, ...]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known of every targeted project, and of every search by its query."""

    projects: Mapping[str, ProjectStatus] = field(default_factory=dict)
    searches: Mapping[str, SearchStatus] = field(default_factory=dict)

    def with_project(self, status: ProjectStatus) -> "Snapshot":
        """The snapshot with one project's status replaced."""
        return replace(self, projects={**self.projects, status.project: status})

    def with_search(self, query: str, status: SearchStatus) -> "Snapshot":
        """The snapshot with one search's status replaced."""
        return replace(self, searches={**self.searches, query: status})

    def only(self, projects: Collection[str], queries: Collection[str]) -> "Snapshot":
        """The snapshot without what is no longer targeted."""
        return Snapshot(
            {name: status for name, status in self.projects.items() if name in projects},
            {query: status for query, status in self.searches.items() if query in queries},
        )
