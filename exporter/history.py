"""What the runs of one instance say, before anybody judges it. Pure; knows neither policy nor clock."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile

from exporter.model import BackupRun, BackupType, RunStatus
from exporter.runs import Glance, Runs


@dataclass(frozen=True, slots=True)
class TypeHistory:
    """The runs of one backup type of one instance. Deleted runs count for nothing but that the type is known."""

    newest: BackupRun | None = None
    newest_ended: BackupRun | None = None
    newest_success: BackupRun | None = None
    consecutive_failures: int = 0
    in_progress: tuple[BackupRun, ...] = ()
    retained: int = 0  # runs that can be restored
    retained_bytes: int | None = None  # sum of the sizes the API reported; None where it reported none
    oldest_retained_end: datetime | None = None


@dataclass(frozen=True, slots=True)
class History:
    """All runs of one instance.

    `newest_success` is the restorable run that began last, of whatever type. `recovery_point` is the moment up to
    which a restore loses nothing; None while nothing can be restored.
    """

    runs: Runs  # newest first
    by_type: Mapping[BackupType, TypeHistory]
    newest_success: BackupRun | None
    recovery_point: datetime | None

    def of(self, backup_type: BackupType) -> TypeHistory:
        """The history of one type, empty where the instance has no runs of it."""
        return self.by_type.get(backup_type, _NO_RUNS)

    @property
    def in_progress(self) -> list[BackupRun]:
        """Runs that wait for their turn, or are under way."""
        return [run for told in self.by_type.values() for run in told.in_progress]

    def automated_since(self, moment: datetime) -> list[BackupRun]:
        """The automated runs of a moment and later, newest first."""
        return [run for run in self.runs.since(moment) if run.type is BackupType.AUTOMATED]


def history(runs: Iterable[BackupRun]) -> History:
    """Summarise the runs of one instance, given in any order."""
    packed = runs if isinstance(runs, Runs) else Runs.of(runs)
    glances = packed.glances()
    unpacked: dict[int, BackupRun] = {}  # what is newest in one way is often so in another

    def run(position: int) -> BackupRun:
        return unpacked.get(position) or unpacked.setdefault(position, packed[position])

    successes = [seen for seen in glances if seen.status is RunStatus.SUCCESSFUL]
    newest = max(successes, key=lambda seen: seen.began, default=None)
    skip = newest and _carrying_skip(newest, glances)
    types = sorted({seen.type for seen in glances})
    return History(
        runs=packed,
        by_type={kind: _type_history([seen for seen in glances if seen.type is kind], run) for kind in types},
        newest_success=run(newest.position) if newest else None,
        recovery_point=run(skip.position).since if skip else run(newest.position).began if newest else None,
    )


def _type_history(glances: list[Glance], run: Callable[[int], BackupRun]) -> TypeHistory:
    living = [seen for seen in glances if not seen.status.deleted]
    ended = [seen for seen in living if seen.status.ended]
    restorable = [seen for seen in living if seen.status is RunStatus.SUCCESSFUL]
    since_success = takewhile(lambda seen: seen.status not in (RunStatus.SUCCESSFUL, RunStatus.SKIPPED), ended)
    sizes = [seen.size_bytes for seen in restorable if seen.size_bytes is not None]
    return TypeHistory(
        newest=run(living[0].position) if living else None,
        newest_ended=run(ended[0].position) if ended else None,
        newest_success=run(restorable[0].position) if restorable else None,
        consecutive_failures=sum(seen.status is RunStatus.FAILED for seen in since_success),
        in_progress=tuple(run(seen.position) for seen in living if seen.status.in_progress),
        retained=len(restorable),
        retained_bytes=sum(sizes) if sizes else None,
        oldest_retained_end=run(restorable[-1].position).end if restorable else None,
    )


def _carrying_skip(success: Glance, glances: list[Glance]) -> Glance | None:
    """The SKIPPED run that carries the recovery point forward from the newest success: there was no new data.

    A run deleted in between ends the carrying: the data it held, and the later skips refer to, is gone.
    """
    later = [seen for seen in reversed(glances) if seen.since > success.began]
    unbroken = takewhile(lambda seen: not seen.status.deleted, later)
    skips = [seen for seen in unbroken if seen.status is RunStatus.SKIPPED]
    return skips[-1] if skips else None


_NO_RUNS = TypeHistory()
