"""Counters over the runs of one instance: each run counts once per outcome. Pure; counters are replaced, not changed.

Runs in the history of an instance at first sight are not counted. A run that is retried within its window keeps its
id and changes from FAILED to SUCCESSFUL: these are two outcomes, each counted once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from exporter.facts.model import EPOCH, NO_CODE, BackupRun, BackupType, RunStatus
from exporter.facts.packed_runs import PackedRuns, RunHeader

EXPIRE_AFTER = timedelta(days=7)  # from when a run is no longer listed
_LATE_LISTING = timedelta(days=1)  # runs that ended longer before first sight are history, not new outcomes
_MAX_WITHOUT_END = timedelta(days=1)  # a skipped or overdue run has no end, but completes within a day of its window

Outcomes = str  # one letter per outcome of a run: a hundred thousand of them take little memory
K = TypeVar("K")
Counts = Mapping[BackupType, Mapping[RunStatus, int]]

_OUTCOME_CODES = {RunStatus.SUCCESSFUL: "S", RunStatus.FAILED: "F", RunStatus.SKIPPED: "K", RunStatus.OVERDUE: "O"}


@dataclass(frozen=True, slots=True)
class Durations:
    """Number of successful runs with a known duration, and the sum of these durations."""

    count: int = 0
    seconds: float = 0.0

    def plus(self, duration: timedelta) -> "Durations":
        """With one more run."""
        return Durations(self.count + 1, self.seconds + duration.total_seconds())


@dataclass(frozen=True, slots=True)
class Counters:
    """The counters of one instance, and the outcomes of runs that are included in them or came before them.

    `outcomes` and `missing_since` are keyed by run id; the latter holds since when a run is no longer listed.
    `forgotten_before` is the latest start of a run that has expired: older runs are never counted.
    `errors` is keyed by the label of the error code.
    """

    first_seen: datetime
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)
    missing_since: Mapping[str, datetime] = field(default_factory=dict)
    forgotten_before: datetime | None = None
    completed: Counts = field(default_factory=dict)
    errors: Mapping[BackupType, Mapping[str, int]] = field(default_factory=dict)
    durations: Mapping[BackupType, Durations] = field(default_factory=dict)

    @classmethod
    def initial(cls, headers: Sequence[RunHeader], now: datetime) -> "Counters":
        """The counters of an instance at first sight: completed runs are known, and not counted."""
        return cls(
            first_seen=now,
            outcomes={str(run.number): _OUTCOME_CODES.get(run.status, "") for run in headers},
            completed={backup_type: {} for backup_type in {run.type for run in headers}},
        )

    @property
    def success_known(self) -> bool:
        """Whether a successful run was counted, or was listed at first sight and is not forgotten yet."""
        counted = any(by_status.get(RunStatus.SUCCESSFUL) for by_status in self.completed.values())
        return counted or any(_OUTCOME_CODES[RunStatus.SUCCESSFUL] in codes for codes in self.outcomes.values())

    def updated(self, runs: PackedRuns, headers: Sequence[RunHeader], now: datetime) -> "Counters":
        """The counters after a reading of all runs that the API lists now; the same object where nothing is new.

        `headers` are those of `runs`.
        """
        missing = self.outcomes.keys() - {str(run.number) for run in headers}
        after = self if self.first_seen <= now else replace(self, first_seen=now)  # the clock was ahead
        for header in headers:
            known = after.outcomes.get(str(header.number))
            if known is None or _OUTCOME_CODES.get(header.status, "") not in known:
                after = after._with_run(runs[header.position])
        if missing != self.missing_since.keys():
            after = replace(after, missing_since={run_id: self.missing_since.get(run_id, now) for run_id in missing})
        return after.without_expired(now)

    def without_expired(self, now: datetime) -> "Counters":
        """Without the runs that have not been listed for a week; the same object where there are none."""
        expired = {run_id for run_id, since in self.missing_since.items() if now - since > EXPIRE_AFTER}
        if not expired:
            return self
        starts = (self.forgotten_before, *map(_window_start, expired))
        return replace(
            self,
            outcomes={run_id: codes for run_id, codes in self.outcomes.items() if run_id not in expired},
            missing_since={run_id: since for run_id, since in self.missing_since.items() if run_id not in expired},
            forgotten_before=min(now, max(start for start in starts if start)),
        )

    def _with_run(self, run: BackupRun) -> "Counters":
        """With an outcome that is not included yet, or a run that is not known."""
        before, outcome = self.outcomes.get(run.id), _OUTCOME_CODES.get(run.status, "")
        known = replace(
            self,
            outcomes={**self.outcomes, run.id: (before or "") + outcome},
            completed={run.type: {}, **self.completed},
        )
        if not outcome or (before is None and self._predates_first_sight(run)):
            return known
        return known._counting(run)

    def _predates_first_sight(self, run: BackupRun) -> bool:
        """Whether an unknown run completed long before first sight, or is older than an expired one."""
        end = run.end or run.scheduled + _MAX_WITHOUT_END
        forgotten = self.forgotten_before is not None and run.scheduled <= self.forgotten_before
        return forgotten or end + _LATE_LISTING < self.first_seen

    def _counting(self, run: BackupRun) -> "Counters":
        after = replace(self, completed=_plus_one(self.completed, run.type, run.status))
        if run.status is RunStatus.FAILED:
            label = run.error.label if run.error else NO_CODE
            return replace(after, errors=_plus_one(self.errors, run.type, label))
        if run.status is RunStatus.SUCCESSFUL and run.duration is not None:
            durations = self.durations.get(run.type, Durations()).plus(run.duration)
            return replace(after, durations={**self.durations, run.type: durations})
        return after


def _plus_one(
    counts: Mapping[BackupType, Mapping[K, int]], backup_type: BackupType, key: K
) -> dict[BackupType, Mapping[K, int]]:
    of_type = counts.get(backup_type, {})
    return {**counts, backup_type: {**of_type, key: of_type.get(key, 0) + 1}}


def _window_start(run_id: str) -> datetime:
    """The window start that a run id encodes; 1970 where it does not encode one."""
    milliseconds = int(run_id)
    return EPOCH + timedelta(milliseconds=milliseconds if milliseconds < 10**13 else 0)
