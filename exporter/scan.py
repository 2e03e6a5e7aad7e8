"""Raw items from a source, through `parse`, into one project's scan. One broken item never loses another."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from exporter import parse
from exporter.history import History, history
from exporter.model import BackupRun, Instance, InstanceType, PollResult

ALL_INSTANCES = "-"  # the API's wildcard
CLOCK_SKEW = timedelta(days=1)  # a time further ahead than this is not believed
_WITHOUT_RUNS = frozenset(
    {
        InstanceType.READ_REPLICA_INSTANCE,
        InstanceType.READ_POOL_INSTANCE,
        InstanceType.ON_PREMISES_INSTANCE,
    }
)

T = TypeVar("T")


class SourceError(Exception):
    """A source could not answer. `result` is the closed word for it; the text says what happened and what to do."""

    def __init__(self, result: PollResult, message: str, *, refused: bool = False) -> None:
        super().__init__(message)
        self.result = result
        self.refused = refused  # the request as such was turned down; a narrower one may not be


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: items as the API gave them, and the regions it said it could not reach."""

    items: list[object]
    unreachable_regions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ProjectScan:
    """What one successful reading of a project said: its selected instances, by name, and what their runs say."""

    taken: datetime
    instances: Mapping[str, Instance]
    histories: Mapping[str, History]  # of the same names
    unreachable_regions: tuple[str, ...] = ()


class Source(Protocol):
    """Where facts come from. Every method raises SourceError."""

    def instances(self, project: str) -> Iterator[Page]:
        """Every instance of a project."""

    def backup_runs(self, project: str, instance: str) -> Iterator[Page]:
        """Every backup run of an instance, or of all instances for ALL_INSTANCES; newest first."""

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that a Cloud Resource Manager search finds."""


class CodeLabels:
    """Label values for error codes: the first `limit` different codes as they are, the rest `other`."""

    def __init__(self, limit: int = 50) -> None:
        self._limit = limit
        self._known: set[str] = set()
        self._lock = threading.Lock()

    def label(self, code: str) -> str:
        """The label value of a code; `unspecified` where there is none."""
        with self._lock:
            if code not in self._known and len(self._known) >= self._limit:
                return "other"
            self._known.add(code or "unspecified")
        return code or "unspecified"


Unreadable = Callable[[str, str], None]  # kind of item, what could not be read of it


def scan(
    source: Source,
    project: str,
    now: datetime,
    selects: Callable[[Instance], bool],
    codes: CodeLabels,
    unreadable: Unreadable,
) -> ProjectScan:
    """Read a project's selected instances and all their runs. Raises SourceError; calls `unreadable` once an item."""
    latest = now + CLOCK_SKEW
    instances: dict[str, Instance] = {}
    regions: set[str] = set()

    def read_instance(item: object) -> parse.Parsed[Instance]:
        return parse.instance(item, project=project, latest=latest)

    for page in source.instances(project):
        regions.update(page.unreachable_regions)
        for instance in _readable("instance", page.items, read_instance, unreadable):
            if selects(instance):
                instances[instance.id.name] = instance

    runs: dict[str, dict[str, BackupRun]] = {name: {} for name in instances}

    def read_run(item: object) -> parse.Parsed[tuple[str, BackupRun]]:
        return parse.backup_run(item, latest=latest)

    for page in _run_pages(source, project, list(instances.values())):
        for name, run in _readable("backup_run", page.items, read_run, unreadable):
            if name in runs:
                _keep_newer(runs[name], _labelled(run, codes))
    return ProjectScan(
        taken=now,
        instances=instances,
        histories={name: history(by_id.values()) for name, by_id in runs.items()},
        unreachable_regions=tuple(sorted(regions)),
    )


def _readable(
    kind: str, items: list[object], read: Callable[[object], parse.Parsed[T]], unreadable: Unreadable
) -> Iterator[T]:
    for item in items:
        try:
            parsed = read(item)
        except parse.UnreadableItemError as error:
            unreadable(kind, str(error))
            continue
        if parsed.unreadable:
            unreadable(kind, ", ".join(parsed.unreadable))
        yield parsed.fact


def _run_pages(source: Source, project: str, instances: list[Instance]) -> Iterator[Page]:
    """All runs of a project in one listing; instance by instance where the project refuses the wildcard."""
    if not instances:
        return
    wildcard = source.backup_runs(project, ALL_INSTANCES)
    try:
        first = next(wildcard, None)
    except SourceError as error:
        if not error.refused:
            raise
    else:
        if first is not None:
            yield first
        yield from wildcard
        return
    for instance in instances:
        if instance.type not in _WITHOUT_RUNS:
            yield from _existing(source.backup_runs(project, instance.id.name))


def _existing(pages: Iterator[Page]) -> Iterator[Page]:
    """The pages of one instance; none where it was deleted since it was listed."""
    try:
        yield from pages
    except SourceError as error:
        if error.result is not PollResult.NOT_FOUND:
            raise


def _labelled(run: BackupRun, codes: CodeLabels) -> BackupRun:
    if run.error is None:
        return run
    return replace(run, error=replace(run.error, label=codes.label(run.error.code)))


def _keep_newer(by_id: dict[str, BackupRun], run: BackupRun) -> None:
    """A run can be met twice, when a listing shifts between pages or a window is tried again: the later word holds."""
    known = by_id.get(run.id)
    if known is None or run.order >= known.order:
        by_id[run.id] = run
