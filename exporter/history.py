"""What the runs of one instance say, before anybody judges it. Pure; knows neither policy nor clock."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from exporter.model import BackupRun, BackupType, RunStatus


@dataclass(frozen=True, slots=True)
class TypeHistory:
    """The runs of one backup type of one instance. Deleted runs count for nothing but that the type is known."""

    newest: BackupRun | None
    newest_ended: BackupRun | None
    newest_success: BackupRun | None
    consecutive_failures: int
    in_progress: tuple[BackupRun, ...]
    restorable: tuple[BackupRun, ...]  # newest first

    @property
    def restorable_bytes(self) -> int | None:
        """Sum of the sizes the API reported; None where it reported none."""
        sizes = [run.size_bytes for run in self.restorable if run.size_bytes is not None]
        return sum(sizes) if sizes else None


@dataclass(frozen=True, slots=True)
class History:
    """All runs of one instance.

    `newest_success` is the restorable run that began last, of whatever type. `recovery_point` is the moment up to
    which a restore loses nothing; None while nothing can be restored.
    """

    runs: tuple[BackupRun, ...]  # newest first
    by_type: Mapping[BackupType, TypeHistory]
    newest_success: BackupRun | None
    recovery_point: datetime | None

    def of(self, backup_type: BackupType) -> TypeHistory:
        """The history of one type, empty where the instance has no runs of it."""
        return self.by_type.get(backup_type, _NO_RUNS)


def history(runs: Iterable[BackupRun]) -> History:
    """Summarise the runs of one instance, given in any order."""
    ordered = tuple(sorted(runs, key=lambda run: run.order, reverse=True))
    types = sorted({run.type for run in ordered})
    restorable = [run for run in ordered if run.status is RunStatus.SUCCESSFUL]
    newest_success = max(restorable, key=lambda run: run.began, default=None)
    return History(
        runs=ordered,
        by_type={kind: _type_history([run for run in ordered if run.type is kind]) for kind in types},
        newest_success=newest_success,
        recovery_point=_recovery_point(newest_success, ordered),
    )


def _type_history(runs: list[BackupRun]) -> TypeHistory:
    living = [run for run in runs if not run.status.deleted]
    ended = [run for run in living if run.status.ended]
    restorable = tuple(run for run in living if run.status is RunStatus.SUCCESSFUL)
    since_success = takewhile(lambda run: run.status not in (RunStatus.SUCCESSFUL, RunStatus.SKIPPED), ended)
    return TypeHistory(
        newest=next(iter(living), None),
        newest_ended=next(iter(ended), None),
        newest_success=next(iter(restorable), None),
        consecutive_failures=sum(run.status is RunStatus.FAILED for run in since_success),
        in_progress=tuple(run for run in living if run.status.in_progress),
        restorable=restorable,
    )


def _recovery_point(newest_success: BackupRun | None, runs: tuple[BackupRun, ...]) -> datetime | None:
    """When the newest success began, carried forward by SKIPPED runs after it: there was no new data.

    A run deleted in between ends the carrying: the data it held, and the later skips refer to, is gone.
    """
    if newest_success is None:
        return None
    later = [run for run in reversed(runs) if run.since > newest_success.began]
    unbroken = takewhile(lambda run: not run.status.deleted, later)
    skips = [run.since for run in unbroken if run.status is RunStatus.SKIPPED]
    return max(skips, default=newest_success.began)


_NO_RUNS = _type_history([])
