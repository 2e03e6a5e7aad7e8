"""Backup windows: when they open, whether one was missed, and when the next run is due.

Cloud SQL opens a window of four hours once a day, at the same time.
"""

from datetime import datetime, timedelta

from exporter.facts.history import History
from exporter.facts.model import Instance, RunStatus

WINDOW = timedelta(hours=4)
DAY = timedelta(days=1)


def last_opening(window_start: timedelta, timestamp: datetime) -> datetime:
    """The last time, not after `timestamp`, at which a window that starts at `window_start` after 00:00 UTC opened."""
    today = timestamp.replace(hour=0, minute=0, second=0, microsecond=0) + window_start
    return today if today <= timestamp else today - DAY


def window_missed(instance: Instance, history: History, now: datetime, read_at: datetime) -> bool:
    """Whether no automated run is in the 24 hours before the last window closed, by facts read after that."""
    window_start = instance.backups.window_start
    if window_start is None:
        return False
    closed = last_opening(window_start, min(now, read_at) - WINDOW) + WINDOW
    existed = instance.created is None or instance.created <= closed - WINDOW
    return existed and not any(run.scheduled < closed for run in history.automated_since(closed - DAY))


def next_due(instance: Instance, history: History, now: datetime) -> datetime | None:
    """The end of the window in which the next automated run must begin; None if the window is not known.

    The window that is open now is the next one until a run of it has begun.
    """
    window_start = instance.backups.window_start
    if window_start is None:
        return None
    opened = last_opening(window_start, now)
    begun = any(run.status is not RunStatus.ENQUEUED for run in history.automated_since(opened))
    still_open = now < opened + WINDOW
    return opened + WINDOW if still_open and not begun else opened + DAY + WINDOW
