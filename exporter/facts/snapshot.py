"""Everything known at one time, by project. Immutable: a poll replaces the entry of its project."""

from collections import Counter
from collections.abc import Collection as AbstractCollection
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from exporter.facts.collected import Collected, Collection
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan


class ProjectState(StrEnum):
    """Whether a project could be read, and has instances."""

    READ = "read"
    EMPTY = "empty"
    API_DISABLED = "api_disabled"  # the API is off in a project that a target merely found: no failure
    FAILING = "failing"


class DiscoveryMethod(StrEnum):
    """The way in which projects are found."""

    SEARCH = "search"  # of Cloud Resource Manager
    INVENTORY = "inventory"  # Cloud Asset Inventory
    WALK = "walk"  # Cloud Resource Manager, folder by folder


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """Outcome of the polls of one project. A failed poll keeps the last good scan.

    `found`: no target names the project, a search found it. `account`: the service account that reads it, if its target
    names one.
    """

    project: str
    result: PollResult | None = None  # of the last poll; None before the first
    message: str = ""  # why it failed and what to do; empty after a success
    missing_permission: str | None = None  # the IAM permission for lack of which it failed
    duration: timedelta = timedelta()
    scan: ProjectScan | None = None
    polls: Mapping[PollResult, int] = field(default_factory=lambda: dict.fromkeys(PollResult, 0))
    collected: Collected = field(default_factory=Collected)
    found: bool = False
    account: str | None = None

    @property
    def state(self) -> ProjectState | None:
        """The state after the last poll, or by the saved scan; None where nothing is known."""
        if self.result is PollResult.API_DISABLED and self.found:
            return ProjectState.API_DISABLED
        if self.result not in (None, PollResult.SUCCESS):
            return ProjectState.FAILING
        if self.scan is None:
            return None
        return ProjectState.EMPTY if self.scan.empty else ProjectState.READ

    @property
    def problem(self) -> str:
        """Why the project could not be read, and what to do; empty where that is none."""
        return self.message if self.state is ProjectState.FAILING else ""

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
    """Outcome of a search for projects; a failed search keeps the projects found before.

    `with_instances` are projects in which Cloud Asset Inventory knows instances; None where it was not asked.
    """

    up: bool | None = None  # the last search succeeded; None before the first
    answered: bool = False  # a search has succeeded
    projects: tuple[str, ...] = ()
    message: str = ""
    missing_permission: str | None = None
    method: DiscoveryMethod | None = None  # of the last search; None before the first
    account: str | None = None  # the service account that searches, if its target names one
    with_instances: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class SavedSearch:
    """What survives a restart of a search that has answered: the projects that it found.

    `api_disabled` are those in which the API was off; `with_instances` as in SearchStatus.
    """

    projects: tuple[str, ...]
    api_disabled: tuple[str, ...] = ()
    with_instances: frozenset[str] | None = None


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

    @classmethod
    def restored(
        cls, scans: Mapping[str, ProjectScan], collected: Mapping[str, Collected], searches: Mapping[str, SavedSearch]
    ) -> "Snapshot":
        """The snapshot of what was saved before a start."""
        disabled = {project for search in searches.values() for project in search.api_disabled} - scans.keys()
        projects = {name: ProjectStatus(name, result=PollResult.API_DISABLED, found=True) for name in disabled}
        for name, scan in scans.items():
            projects[name] = ProjectStatus(name, scan=scan, collected=collected[name])
        answers = {
            query: SearchStatus(answered=True, projects=saved.projects, with_instances=saved.with_instances)
            for query, saved in searches.items()
        }
        return cls(projects, answers)

    def saved_search(self, query: str) -> SavedSearch:
        """What is saved of a search."""
        search = self.searches[query]
        statuses = [self.projects[project] for project in search.projects if project in self.projects]
        disabled = tuple(status.project for status in statuses if status.state is ProjectState.API_DISABLED)
        return SavedSearch(search.projects, disabled, search.with_instances)

    def only(self, projects: AbstractCollection[str], queries: AbstractCollection[str]) -> "Snapshot":
        """The snapshot without what is no longer targeted."""
        return Snapshot(
            {name: status for name, status in self.projects.items() if name in projects},
            {query: status for query, status in self.searches.items() if query in queries},
        )


def project_counts(projects: Iterable[ProjectStatus]) -> dict[ProjectState, int]:
    """The number of projects in each state; without those of which nothing is known yet."""
    counts = Counter(status.state for status in projects)
    return {state: counts[state] for state in ProjectState}
