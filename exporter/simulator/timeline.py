"""How one backup run unfolds: what the API would answer about it at any moment. A pure function of time."""

from dataclasses import dataclass
from datetime import datetime, timedelta

Resource = dict[str, object]

WINDOW = timedelta(hours=4)


@dataclass(frozen=True)
class Attempt:
    """One try at a backup: enqueued `after` the window opened, started `queue` later, ended `takes` later, if ever."""

    after: timedelta = timedelta(minutes=12)
    queue: timedelta = timedelta(seconds=4)
    takes: timedelta | None = timedelta(minutes=7)
    error: str | None = None  # the error code of a failure; empty for a failure without a code
    gigabytes: float = 12.5


@dataclass(frozen=True)
class Run:
    """What becomes of one window, or of one backup on demand.

    `attempts` follow each other under the same id. Without any, `status` (SKIPPED or OVERDUE) is what the API
    says once the window has closed, or nothing at all where it is None.
    """

    attempts: tuple[Attempt, ...] = ()
    status: str | None = None
    deleted_after: timedelta | None = None  # from the opening of the window


HEALTHY = Run((Attempt(),))
SKIPPED = Run(status="SKIPPED")
OVERDUE = Run(status="OVERDUE")
MISSED = Run()


def failing(code: str) -> Run:
    """A window whose only attempt fails."""
    return Run((Attempt(takes=timedelta(minutes=3), error=code),))


def resource(run: Run, kind: str, opened: datetime, now: datetime) -> Resource | None:
    """The backup run as the API shows it at `now`, less what its instance adds; None while there is nothing to show."""
    if run.attempts:
        shown = _attempted(run, opened, now)
    elif run.status and now >= _appears(run, opened):
        shown = {"status": run.status}
    else:
        return None
    if shown is None:
        return None
    if run.deleted_after is not None and now >= opened + run.deleted_after:
        shown["status"] = "DELETED"
    return {
        "kind": "sql#backupRun",
        "id": str(round(opened.timestamp() * 1000)),
        "type": kind,
        "windowStartTime": timestamp(opened),
        **shown,
    }


def ends(run: Run, opened: datetime) -> list[tuple[datetime, str]]:
    """Every end that a run comes to, ever: when, and with which status."""
    if not run.attempts:
        return [(_appears(run, opened), run.status)] if run.status else []
    return [
        (opened + attempt.after + attempt.queue + attempt.takes, "SUCCESSFUL" if attempt.error is None else "FAILED")
        for attempt in run.attempts
        if attempt.takes is not None
    ]


def _appears(run: Run, opened: datetime) -> datetime:
    """When a run without attempts is first listed."""
    return opened + (WINDOW if run.status == "OVERDUE" else timedelta(minutes=12))


def _attempted(run: Run, opened: datetime, now: datetime) -> Resource | None:
    begun = [attempt for attempt in run.attempts if now >= opened + attempt.after]
    if not begun:
        return None
    attempt = begun[-1]
    enqueued = opened + attempt.after
    started = enqueued + attempt.queue
    shown: Resource = {"status": "ENQUEUED", "enqueuedTime": timestamp(enqueued)}
    if now < started:
        return shown
    shown |= {"status": "RUNNING", "startTime": timestamp(started), "backupKind": "SNAPSHOT"}
    if attempt.takes is None or now < started + attempt.takes:
        return shown
    shown["endTime"] = timestamp(started + attempt.takes)
    if attempt.error is None:
        return shown | {"status": "SUCCESSFUL", "maxChargeableBytes": str(round(attempt.gigabytes * 2**30))}
    error = {"kind": "sql#operationError", "message": f"The backup failed with {attempt.error or 'an error'}."}
    return shown | {"status": "FAILED", "error": error | ({"code": attempt.error} if attempt.error else {})}


def timestamp(moment: datetime) -> str:
    """RFC 3339 as the API writes it: Z, and milliseconds where there are any."""
    text = moment.isoformat(timespec="milliseconds").removesuffix("+00:00")
    return text.removesuffix(".000") + "Z"
