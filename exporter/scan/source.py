"""Interface of a data source: pages of items in JSON, and the error that it raises."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from exporter.facts.model import PollResult

ALL_INSTANCES = "-"  # the API's wildcard
UNKNOWN_REGION = "unknown"  # the API reported an unreachable region without its name


class SourceError(Exception):
    """A source could not answer. `result` is the closed word for it; the text says what happened and what to do.

    `denied`: the request as such was refused; a narrower one may not be. `transient`: a retry may succeed although
    most errors with this result are permanent. `retry_after`: seconds to wait, as the API requested.
    `missing_permission`: the IAM permission that the request needs, if the API denied access.
    """

    def __init__(
        self,
        result: PollResult,
        message: str,
        *,
        denied: bool = False,
        transient: bool = False,
        retry_after: float | None = None,
        missing_permission: str | None = None,
    ) -> None:
        # JSON can carry characters that neither a page nor a terminal can show.
        super().__init__("".join(c if c.isprintable() else "?" for c in message.encode(errors="replace").decode()))
        self.result = result
        self.denied = denied
        self.transient = transient
        self.retry_after = retry_after
        self.missing_permission = missing_permission


class AbsentError(SourceError):
    """The API itself answered, with 400 or 404, that it does not have what was requested."""


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: items as the API returned them, in JSON, and the regions it reported as unreachable.

    `last`: no page follows.
    """

    items: list[bytes]
    unreachable_regions: tuple[str, ...] = ()
    last: bool = False


class Source(Protocol):
    """A source of facts. Every method raises SourceError."""

    def instances(self, project: str) -> Iterator[Page]:
        """All instances of a project."""

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """All backup runs of an instance, or of all for ALL_INSTANCES; with `newest`, in short pages."""

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        """One backup run, in JSON; None where it does not exist."""

    def recovery_times(self, project: str, instance: str) -> bytes | None:
        """The recovery times of an instance, in JSON; None where the API has none. Never delays other requests."""

    def backups(self, project: str) -> Iterator[Page]:
        """All backups of a project, of instances that exist and of deleted ones."""

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        """The associations of the project's resources, of any kind and region, with backup plans."""

    def backup_plans(self, project: str) -> Iterator[Page]:
        """The backup plans in a project, of any region."""


class ProjectDirectory(Protocol):
    """A directory of projects. Every method raises SourceError, possibly after some items."""

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that match a Cloud Resource Manager search."""

    def projects_in(self, parent: str) -> Iterator[str]:
        """The ids of the active projects directly in `folders/ID` or `organizations/ID`."""

    def folders_in(self, parent: str) -> Iterator[str]:
        """The resource names of the active folders directly in `folders/ID` or `organizations/ID`."""

    def projects_below(self, scope: str) -> Iterator[str]:
        """The ids of the active projects below a scope at any depth, from Cloud Asset Inventory."""

    def projects_with_instances(self, scope: str) -> Iterator[str]:
        """The ids of the projects below a scope with Cloud SQL instances, from Cloud Asset Inventory.

        It can be hours late, and repeats ids.
        """
