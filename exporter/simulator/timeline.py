"""Progress of one backup run: its resource in the API at any time. A pure function of time."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from zlib import crc32

Resource = dict[str, object]

WINDOW = timedelta(hours=4)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a backup.

    `after`: from the start of the window until it is enqueued; `queue`: until it starts; `takes`: until it ends; None:
    it never ends.
    """

    after: timedelta = timedelta(minutes=12)
    queue: timedelta = timedelta(seconds=4)
    takes: timedelta | None = timedelta(minutes=7)
    error: str | None = None  # error code of a failure; empty for a failure without a code
    gigabytes: float = 12.5


@dataclass(frozen=True)
class Run:
    """The backup run of one window, or one outside the schedule.

    Consecutive `attempts` have the same run ID. A run without attempts is listed with `status` (SKIPPED or OVERDUE),
    or not at all if that is None. From `deleted_after` the start of the window, the run is no longer listed, as
    recorded; with a `deletion_status` (such as DELETED, which the API documents), it is listed with that.
    """

    attempts: tuple[Attempt, ...] = ()
    status: str | None = None
    deleted_after: timedelta | None = None
    deletion_status: str | None = None


@dataclass(frozen=True)
class Unscheduled:
    """A run that does not belong to a window: its windowStartTime is the time at which it is enqueued.

    `ago`: from then to the start of the world; negative if it follows the start.
    """

    ago: timedelta
    type: str = "ON_DEMAND"  # or AUTOMATED, FINAL
    run: Run = Run((Attempt(after=timedelta(), queue=timedelta(milliseconds=11)),))
    description: str | None = None


HEALTHY = Run((Attempt(),))
SKIPPED = Run(status="SKIPPED")
OVERDUE = Run(status="OVERDUE")
MISSED = Run()


def scheduled_start(instance: str, window_opening: datetime) -> datetime:
    """Return the windowStartTime of a scheduled run: 0.1 to 0.9 s after the minute, as recorded."""
    seed = f"{instance} {window_opening.toordinal()}".encode()
    return window_opening + timedelta(milliseconds=100 + crc32(seed) % 801)


def failing(code: str) -> Run:
    """Return a run whose only attempt fails."""
    return Run((Attempt(takes=timedelta(minutes=3), error=code),))


def resource(run: Run, kind: str, window_start: datetime, now: datetime) -> Resource | None:
    """Return the API resource of a run without the fields of its instance; None while the run is not listed."""
    progress = _progress(run, window_start, now)
    if progress is None:
        return None
    if run.deleted_after is not None and now >= window_start + run.deleted_after:
        if run.deletion_status is None:
            return None
        progress["status"] = run.deletion_status
    return {
        "kind": "sql#backupRun",
        "id": str(round(window_start.timestamp() * 1000)),
        "type": kind,
        "windowStartTime": timestamp(window_start),
        **progress,
    }


def completions(run: Run, window_start: datetime) -> list[tuple[datetime, str]]:
    """Return the time and final status of every completion of a run, past and future."""
    if not run.attempts:
        return [(_listed_from(run, window_start), run.status)] if run.status else []
    return [
        (
            window_start + attempt.after + attempt.queue + attempt.takes,
            "SUCCESSFUL" if attempt.error is None else "FAILED",
        )
        for attempt in run.attempts
        if attempt.takes is not None
    ]


def _listed_from(run: Run, window_start: datetime) -> datetime:
    """Return the time from which a run without attempts is listed."""
    return window_start + (WINDOW if run.status == "OVERDUE" else timedelta(minutes=12))


def _progress(run: Run, window_start: datetime, now: datetime) -> Resource | None:
    """Return status, times and result of a run; None before it is listed."""
    if run.attempts:
        return _attempt_fields(run, window_start, now)
    listed_from = _listed_from(run, window_start)
    if run.status is None or now < listed_from:
        return None
    if run.status == "SKIPPED":
        return {"status": run.status, "enqueuedTime": timestamp(listed_from)}
    return {"status": run.status}


def _attempt_fields(run: Run, window_start: datetime, now: datetime) -> Resource | None:
    """Return the fields set by the newest attempt; None before the first is enqueued."""
    enqueued_attempts = [attempt for attempt in run.attempts if now >= window_start + attempt.after]
    if not enqueued_attempts:
        return None
    attempt = enqueued_attempts[-1]
    enqueued = window_start + attempt.after
    started = enqueued + attempt.queue
    fields: Resource = {"status": "ENQUEUED", "enqueuedTime": timestamp(enqueued)}
    if now < started:
        return fields
    fields |= {"status": "RUNNING", "startTime": timestamp(started), "backupKind": "SNAPSHOT"}
    if attempt.takes is None or now < started + attempt.takes:
        return fields
    fields["endTime"] = timestamp(started + attempt.takes)
    if attempt.error is None:
        return fields | {"status": "SUCCESSFUL", "maxChargeableBytes": str(round(attempt.gigabytes * 2**30))}
    error = {"kind": "sql#operationError", "message": f"The backup failed with {attempt.error or 'an error'}."}
    return fields | {"status": "FAILED", "error": error | ({"code": attempt.error} if attempt.error else {})}


def timestamp(time: datetime) -> str:
    """Format a UTC time as the API does: RFC 3339 with Z, and with milliseconds unless they are zero."""
    text = time.isoformat(timespec="milliseconds").removesuffix("+00:00")
    return text.removesuffix(".000") + "Z"
