"""History of one instance: what its runs say, before they are judged. Pure; knows neither policy nor clock."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import takewhile
from operator import attrgetter
from statistics import median

from exporter.facts.model import BackupRun, BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns, RunHeader

MIN_USUAL, MAX_USUAL = 7, 14  # runs by which it is told what is usual
_NONE = PackedRuns()


@dataclass(frozen=True, slots=True)
class TypeHistory:
    """The runs of one backup type of one instance. Deleted runs only show that the instance has runs of the type.

    `usual_duration` and `usual_size` are medians of the successful runs before the newest one that report a duration or
    a size, of the last MAX_USUAL of them; None if they are fewer than MIN_USUAL. If the API lists fewer, expired runs
    that it listed before are added.
    """

    newest: BackupRun | None = None
    newest_completed: BackupRun | None = None
    newest_success: BackupRun | None = None
    consecutive_failures: int = 0
    in_progress: tuple[BackupRun, ...] = ()
    retained: int = 0  # runs that can be restored
    retained_bytes: int | None = None  # sum of their sizes; None unless the API reported each of them
    oldest_retained_end: datetime | None = None
    usual_duration: timedelta | None = None
    usual_size: float | None = None  # bytes


class RecoveryPointSource(StrEnum):
    """What a recovery point rests on."""

    BACKUP = "backup"
    SKIPPED_RUN = "skipped_run"  # there was no new data since the newest backup
    LOG = "log"  # transaction logs since a backup
    VAULT = "vault"  # a backup by a backup plan, in a vault of Backup and DR


@dataclass(frozen=True, slots=True)
class History:
    """All runs of one instance.

    `newest_success` is the restorable run, of any type, that started last. `recovery_point` is the time up to which
    a restore loses nothing; it and its source are None while nothing can be restored. `expired` are successful runs
    that were listed before, as far as they are needed to tell what is usual.
    """

    runs: PackedRuns  # newest first
    by_type: Mapping[BackupType, TypeHistory]
    newest_success: BackupRun | None
    recovery_point: datetime | None
    recovery_point_source: RecoveryPointSource | None
    expired: PackedRuns = _NONE

    def of(self, backup_type: BackupType) -> TypeHistory:
        """The history of one type, empty where the instance has no runs of it."""
        return self.by_type.get(backup_type, _NO_RUNS)

    @property
    def in_progress(self) -> list[BackupRun]:
        """Runs that are enqueued or running."""
        return [run for of_type in self.by_type.values() for run in of_type.in_progress]

    def automated_since(self, timestamp: datetime) -> list[BackupRun]:
        """The automated runs scheduled at a time or later, newest first."""
        return [run for run in self.runs.since(timestamp) if run.type is BackupType.AUTOMATED]


def history(
    runs: Iterable[BackupRun], headers: Sequence[RunHeader] | None = None, expired: PackedRuns = _NONE
) -> History:
    """Summarize the runs of one instance, given in any order; `headers` are theirs, where the caller has them."""
    packed = runs if isinstance(runs, PackedRuns) else PackedRuns.of(runs)
    headers = packed.headers() if headers is None else headers
    unpacked: dict[int, BackupRun] = {}  # the newest run in one respect is often the newest in others

    def run(position: int) -> BackupRun:
        return unpacked.get(position) or unpacked.setdefault(position, packed[position])

    successes = [header for header in headers if header.status is RunStatus.SUCCESSFUL]
    newest = max(successes, key=attrgetter("effective_start"), default=None)
    skip = _skip_after(newest, headers) if newest else None
    recovery_point = source = None
    if skip:
        recovery_point, source = run(skip.position).scheduled, RecoveryPointSource.SKIPPED_RUN
    elif newest:
        recovery_point, source = run(newest.position).effective_start, RecoveryPointSource.BACKUP
    types = sorted({header.type for header in headers if header.status is not RunStatus.VANISHED})
    expired_headers = expired.headers()
    return History(
        runs=packed,
        by_type={
            of: _type_history([h for h in headers if h.type is of], [h for h in expired_headers if h.type is of], run)
            for of in types
        },
        newest_success=run(newest.position) if newest else None,
        recovery_point=recovery_point,
        recovery_point_source=source,
        expired=expired,
    )


def expired_runs(known: History, listed: PackedRuns) -> PackedRuns:
    """The successful runs that are no longer listed, of each type as many as are needed to tell what is usual."""
    numbers = set(listed.numbers())
    expired = [run for run in known.expired if int(run.id) not in numbers]
    expired += [
        replace(known.runs[header.position], location=None, error=None)  # without texts
        for header in known.runs.headers()
        if header.status is RunStatus.SUCCESSFUL and header.number not in numbers
    ]
    successes = Counter(header.type for header in listed.headers() if header.status is RunStatus.SUCCESSFUL)
    needed: list[BackupRun] = []
    for backup_type in {run.type for run in expired}:
        of_type = sorted((run for run in expired if run.type is backup_type), key=lambda run: run.order, reverse=True)
        needed += of_type[: max(0, MIN_USUAL + 1 - successes[backup_type])]
    return PackedRuns.of(needed)


def with_vanished(known: PackedRuns, listed: PackedRuns) -> PackedRuns:
    """The listed runs, and the known backups that are no longer listed where a SKIPPED run may refer to one of them.

    Cloud SQL drops a deleted run from its list. A SKIPPED run after it then no longer says that an older backup holds
    all data (see `_skip_after`). A success that follows the deleted run, or no older one, makes it irrelevant.
    """
    gone = set(known.numbers()) - set(listed.numbers())
    if not gone:
        return listed
    oldest_success = min((run.scheduled for run in listed if run.status is RunStatus.SUCCESSFUL), default=None)
    vanished = [
        replace(run, status=RunStatus.VANISHED)
        for run in known
        if int(run.id) in gone
        and (run.status is RunStatus.SUCCESSFUL or run.status.deleted)
        and oldest_success
        and run.scheduled > oldest_success
    ]
    followed_by_success, relevant = False, []
    for run in PackedRuns.of([*listed, *vanished]):  # newest first
        if run.status is RunStatus.VANISHED and not followed_by_success:
            relevant.append(run)
        elif run.status in (RunStatus.SUCCESSFUL, RunStatus.SKIPPED):
            followed_by_success = run.status is RunStatus.SUCCESSFUL
    return PackedRuns.of([*listed, *relevant]) if relevant else listed


def _type_history(headers: list[RunHeader], expired: list[RunHeader], run: Callable[[int], BackupRun]) -> TypeHistory:
    """The history of a type by its runs, and by successful ones that have expired; both newest first."""
    existing = [header for header in headers if not header.status.deleted]
    completed = [header for header in existing if header.status.completed]
    restorable = [header for header in existing if header.status is RunStatus.SUCCESSFUL]
    since_success = takewhile(lambda header: header.status not in (RunStatus.SUCCESSFUL, RunStatus.SKIPPED), completed)
    sizes = [header.size_bytes for header in restorable]
    known_sizes = [size for size in sizes if size is not None]
    usual_duration = _usual([h.duration for h in restorable], [h.duration for h in expired])
    return TypeHistory(
        newest=run(existing[0].position) if existing else None,
        newest_completed=run(completed[0].position) if completed else None,
        newest_success=run(restorable[0].position) if restorable else None,
        consecutive_failures=sum(header.status is RunStatus.FAILED for header in since_success),
        in_progress=tuple(run(header.position) for header in existing if header.status.in_progress),
        retained=len(restorable),
        retained_bytes=sum(known_sizes) if sizes and len(known_sizes) == len(sizes) else None,
        oldest_retained_end=run(restorable[-1].position).end if restorable else None,
        usual_duration=None if usual_duration is None else timedelta(seconds=usual_duration),
        usual_size=_usual(sizes, [h.size_bytes for h in expired]),
    )


def _usual(values: Sequence[float | None], expired: Sequence[float | None]) -> float | None:
    """The median of the values before the newest one that are known; None if they are too few, also with expired ones.

    There is none without a newest value: an expired run cannot be restored.
    """
    if not values:
        return None
    known = [value for value in values[1:] if value is not None][:MAX_USUAL]
    if len(known) < MIN_USUAL:
        known += [value for value in expired if value is not None][: MIN_USUAL - len(known)]
    return median(known) if len(known) >= MIN_USUAL else None


def _skip_after(success: RunHeader, headers: Sequence[RunHeader]) -> RunHeader | None:
    """The SKIPPED run that carries the recovery point forward from the newest success: there was no new data.

    A run deleted in between ends this: the data that it held, and that later skips refer to, is gone.
    """
    later = [header for header in reversed(headers) if header.effective_start > success.effective_start]
    unbroken = takewhile(lambda header: not header.status.deleted, later)
    skips = [header for header in unbroken if header.status is RunStatus.SKIPPED]
    return skips[-1] if skips and skips[-1].scheduled > success.effective_start else None


_NO_RUNS = TypeHistory()
