"""Everything known at one time, by project. Immutable: a poll replaces the entry of its project."""

from collections.abc import Collection as AbstractCollection
from collections.abc import Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from exporter.facts.collected import Collected, Collection
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """Outcome of the polls of one project. A failed poll keeps the last good scan."""

    project: str
    result: PollResult | None = None  # of the last poll; None before the first
    message: str = ""  # why it failed and what to do; empty after a success
    missing_permission: str | None = None  # the IAM permission for lack of which it failed
    duration: timedelta = timedelta()
    scan: ProjectScan | None = None
    polls: Mapping[PollResult, int] = field(default_factory=lambda: dict.fromkeys(PollResult, 0))
    collected: Collected = field(default_factory=Collected)

    @property
    def up(self) -> bool:
        """The last poll succeeded."""
        return self.result is PollResult.SUCCESS

    @property
    def unreachable_regions(self) -> tuple[str, ...]:
        """Regions whose instances the last good scan could not read."""
        return self.scan.unreachable_regions if self.scan else ()

    @property
    def carries_over(self) -> bool:
        """Whether facts about some instance are older than the last good scan."""
        return bool(self.scan and self.scan.carried_over) or self.collected.plans_behind

    @property
    def last_success(self) -> datetime | None:
        """When the facts were read."""
        return self.scan.read_at if self.scan else None

    def succeeded(self, scan: ProjectScan, duration: timedelta, collected: Collected | None = None) -> "ProjectStatus":
        """The status after a poll that read `scan`, and what was collected beside it if that may have changed."""
        after = replace(self, scan=scan, collected=collected or self.collected, message="", missing_permission=None)
        return self._after(after, PollResult.SUCCESS, duration)

    def failed(
        self, result: PollResult, message: str, duration: timedelta, missing_permission: str | None = None
    ) -> "ProjectStatus":
        """The status after a poll that failed."""
        return self._after(replace(self, message=message, missing_permission=missing_permission), result, duration)

    def _after(self, status: "ProjectStatus", result: PollResult, duration: timedelta) -> "ProjectStatus":
        polls = {**self.polls, result: self.polls[result] + 1}
        return replace(status, result=result, duration=duration, polls=polls)


@dataclass(frozen=True, slots=True)
class SearchStatus:
    """Outcome of a search for projects; a failed search keeps the projects found before."""

    up: bool | None = None  # the last search succeeded; None before the first
    answered: bool = False  # a search has succeeded
    projects: tuple[str, ...] = ()
    message: str = ""
    missing_permission: str | None = None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The status of every targeted project, and of every search by its query."""

    projects: Mapping[str, ProjectStatus] = field(default_factory=dict)
    searches: Mapping[str, SearchStatus] = field(default_factory=dict)

    def with_project(self, status: ProjectStatus) -> "Snapshot":
        """The snapshot with one project's status replaced."""
        return replace(self, projects={**self.projects, status.project: status})

    def with_search(self, query: str, status: SearchStatus) -> "Snapshot":
        """The snapshot with one search's status replaced."""
        return replace(self, searches={**self.searches, query: status})

    def only_collected(self, collections: Set[Collection]) -> "Snapshot":
        """The snapshot without what other collections have collected."""
        projects = {
            name: replace(status, collected=status.collected.only(collections))
            for name, status in self.projects.items()
        }
        return replace(self, projects=projects)

    def only(self, projects: AbstractCollection[str], queries: AbstractCollection[str]) -> "Snapshot":
        """The snapshot without what is no longer targeted."""
        return Snapshot(
            {name: status for name, status in self.projects.items() if name in projects},
            {query: status for query, status in self.searches.items() if query in queries},
        )
