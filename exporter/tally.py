"""What has been counted of one instance's runs: each run once per outcome. Pure; an account is replaced, never changed.

What is in the history when an instance is first seen is not counted. A run that is retried within its window keeps its
id and goes from FAILED to SUCCESSFUL: that is two outcomes, each counted once.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar

from exporter.model import EPOCH, NO_CODE, BackupRun, BackupType, RunStatus
from exporter.runs import Runs

FORGET_AFTER = timedelta(days=7)  # from when a run has left the API's history
_LISTED_LATE = timedelta(days=1)  # what ended longer before the first sight was hidden from it, and is no news
_WITHOUT_END = timedelta(days=1)  # a skipped or overdue run has no end, but came to one within a day of its window

Outcomes = str  # a letter for each end that a run came to: a hundred thousand of them take no room
K = TypeVar("K")
Counts = Mapping[BackupType, Mapping[RunStatus, int]]


_LETTERS = {RunStatus.SUCCESSFUL: "S", RunStatus.FAILED: "F", RunStatus.SKIPPED: "K", RunStatus.OVERDUE: "O"}
_UNKNOWN = ()  # has no outcome in it, and not even none


@dataclass(frozen=True, slots=True)
class Durations:
    """How many successful runs told how long they took, and how many seconds in all."""

    count: int = 0
    seconds: float = 0.0

    def plus(self, span: timedelta) -> "Durations":
        """With one more."""
        return Durations(self.count + 1, self.seconds + span.total_seconds())


@dataclass(frozen=True, slots=True)
class Account:
    """The counters of one instance, and which outcomes of which runs are in them or came before them.

    `forgotten` is the latest moment at which a run began that is no longer remembered: nothing older is counted.
    """

    opened: datetime
    outcomes: Mapping[str, Outcomes] = field(default_factory=dict)  # by run id
    left: Mapping[str, datetime] = field(default_factory=dict)  # by run id: since when it is not listed any more
    forgotten: datetime | None = None
    ended: Counts = field(default_factory=dict)
    errors: Mapping[BackupType, Mapping[str, int]] = field(default_factory=dict)  # by label of the error code
    durations: Mapping[BackupType, Durations] = field(default_factory=dict)


def first_account(runs: Runs, now: datetime) -> Account:
    """The account of an instance seen for the first time: what has ended already is known, and not counted."""
    glances = runs.glances()
    return Account(
        opened=now,
        outcomes={str(run.number): _LETTERS.get(run.status, "") for run in glances},
        ended={kind: {} for kind in {run.type for run in glances}},
    )


def next_account(account: Account, runs: Runs, now: datetime) -> Account:
    """The account after a look at all runs that the API lists now; the same object where nothing is new."""
    glances = runs.glances()
    missing = account.outcomes.keys() - {str(run.number) for run in glances}
    after = account if account.opened <= now else replace(account, opened=now)  # the clock was ahead
    for run in glances:
        if _LETTERS.get(run.status, "") not in after.outcomes.get(str(run.number), _UNKNOWN):
            after = _with_run(after, runs[run.position])
    if missing != account.left.keys():
        after = replace(after, left={run_id: account.left.get(run_id, now) for run_id in missing})
    return without_forgotten(after, now)


def _with_run(account: Account, run: BackupRun) -> Account:
    """The account with an outcome that is not in it yet, or a run that it does not know."""
    before, outcome = account.outcomes.get(run.id), _LETTERS.get(run.status, "")
    known = replace(
        account,
        outcomes={**account.outcomes, run.id: (before or "") + outcome},
        ended={run.type: {}, **account.ended},
    )
    if not outcome or (before is None and _is_of_the_past(account, run)):
        return known
    return _counted(known, run)


def _is_of_the_past(account: Account, run: BackupRun) -> bool:
    """An unknown run that ended long before the first sight, or whose like is forgotten: listed late, not new."""
    ended = run.end or run.since + _WITHOUT_END
    forgotten = account.forgotten is not None and run.since <= account.forgotten
    return forgotten or ended + _LISTED_LATE < account.opened


def _counted(account: Account, run: BackupRun) -> Account:
    ended = _plus_one(account.ended, run.type, run.status)
    if run.status is RunStatus.FAILED:
        label = run.error.label if run.error else NO_CODE
        return replace(account, ended=ended, errors=_plus_one(account.errors, run.type, label))
    if run.status is RunStatus.SUCCESSFUL and run.duration is not None:
        durations = account.durations.get(run.type, Durations()).plus(run.duration)
        return replace(account, ended=ended, durations={**account.durations, run.type: durations})
    return replace(account, ended=ended)


def _plus_one(
    counts: Mapping[BackupType, Mapping[K, int]], kind: BackupType, key: K
) -> dict[BackupType, Mapping[K, int]]:
    of_kind = counts.get(kind, {})
    return {**counts, kind: {**of_kind, key: of_kind.get(key, 0) + 1}}


def without_forgotten(account: Account, now: datetime) -> Account:
    """The account without runs that left the history long ago; the same object where there are none."""
    old = {run_id for run_id, at in account.left.items() if now - at > FORGET_AFTER}
    if not old:
        return account
    return replace(
        account,
        outcomes={run_id: known for run_id, known in account.outcomes.items() if run_id not in old},
        left={run_id: at for run_id, at in account.left.items() if run_id not in old},
        forgotten=min(now, max(moment for moment in (account.forgotten, *map(_opened, old)) if moment)),
    )


def _opened(run_id: str) -> datetime:
    """When a run's window opened, by its id; long ago where the id does not say."""
    milliseconds = int(run_id)
    return EPOCH + timedelta(milliseconds=milliseconds if milliseconds < 10**13 else 0)
