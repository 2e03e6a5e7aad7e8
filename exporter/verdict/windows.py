"""Backup windows: when they open, whether one was missed, and when the next run is due.

Cloud SQL opens a window of four hours once a day, at the same time.
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from exporter.facts.history import History
from exporter.facts.model import BackupRun, Instance, RunStatus

WINDOW = timedelta(hours=4)
DAY = timedelta(days=1)
MAX_START_DELAY = timedelta(seconds=2)  # of the window start of a scheduled run, after the minute of the schedule


def last_opening(window_start: timedelta, timestamp: datetime) -> datetime:
    """The last time, not after `timestamp`, at which a window that starts at `window_start` after 00:00 UTC opened."""
    today = timestamp.replace(hour=0, minute=0, second=0, microsecond=0) + window_start
    return today if today <= timestamp else today - DAY


def window_missed(instance: Instance, history: History, now: datetime, read_at: datetime) -> bool:
    """Whether the last closed window had no run, by facts read after it closed."""
    window_start = instance.backups.window_start
    if window_start is None:
        return False
    opened = last_opening(window_start, min(now, read_at) - WINDOW)
    return _existed(instance, opened) and not any(_runs_of_window(history, opened))


def next_due(instance: Instance, history: History, now: datetime) -> datetime | None:
    """The end of the window in which the next automated run must begin; None if the window is not known.

    The window that is open now is the next one until a run of it has begun, unless the instance was created in it.
    """
    window_start = instance.backups.window_start
    if window_start is None:
        return None
    opened = last_opening(window_start, now)
    begun = any(run.status is not RunStatus.ENQUEUED for run in _runs_of_window(history, opened))
    is_due = now < opened + WINDOW and _existed(instance, opened) and not begun
    return opened + WINDOW if is_due else opened + DAY + WINDOW


def _existed(instance: Instance, opened: datetime) -> bool:
    """Whether the instance existed when a window opened; the window in which it was created is not its first."""
    return instance.created is None or instance.created <= opened


def _runs_of_window(history: History, opened: datetime) -> Iterator[BackupRun]:
    """The automated runs of a window: those in it, and the scheduled ones in the 24 hours before it closed.

    The latter are those of a window that was moved since. Google also makes automated backups outside the schedule,
    for example when point-in-time recovery is enabled; they begin at any second of a minute.
    """
    closed = opened + WINDOW
    for run in history.automated_since(closed - DAY):
        scheduled = timedelta(seconds=run.scheduled.second, microseconds=run.scheduled.microsecond) <= MAX_START_DELAY
        if run.scheduled < closed and (scheduled or run.scheduled >= opened):
            yield run
