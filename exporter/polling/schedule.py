"""Schedule of the polls of projects without instances: spread evenly over an interval, however many they are. Pure."""

from collections.abc import Set
from datetime import timedelta

AT_ONCE = 83  # late polls that may come all at once; more of them come at this rate per minute, or at the pace


class SpreadSchedule:
    """When each project is due, in seconds on any monotonic clock. Not safe to share between threads.

    A turn comes as late as possible, but early enough that all projects have theirs in time at a steady pace: so polls
    that once came all at once, as at the start, are spread evenly from then on.
    """

    def __init__(self, interval: timedelta, due: dict[str, float] | None = None) -> None:
        """`interval` is the longest time between two polls of a project; `due` is kept up to date."""
        self._interval = interval.total_seconds()
        self._due = {} if due is None else due
        self._last_turn = float("-inf")
        self._waiting: list[tuple[float, str]] = []  # all of them, by when they are due; empty if that has changed
        self._turn: float | None = None  # the next one, if that has been found out since the last change

    def __contains__(self, project: str) -> bool:
        return project in self._due

    def add(self, project: str, due: float) -> None:
        """Add a project, or change when it is due."""
        self._due[project] = due
        self._changed()

    def discard(self, project: str) -> None:
        """Remove a project, if it is there."""
        if self._due.pop(project, None) is not None:
            self._changed()

    def keep(self, projects: Set[str]) -> None:
        """Remove all other projects."""
        for project in self._due.keys() - projects:
            self.discard(project)

    def is_due(self, project: str, now: float) -> bool:
        """Whether a project is due, regardless of the pace."""
        return self._due[project] <= now

    def next(self, now: float) -> tuple[str | None, float]:
        """The project whose turn it is, if any, which is then due after the interval; and the seconds until the next.

        Without projects, that is the interval.
        """
        if not self._due:
            return None, self._interval
        pace = self._interval / len(self._due)
        if not self._waiting:
            limit = now + self._interval
            self._waiting = sorted((min(due, limit), project) for project, due in self._due.items())
        gap = min(pace, 60 / AT_ONCE) if len(self._due) > AT_ONCE else 0.0
        turn = max(self._next_turn(now, pace), self._last_turn + gap)
        if now < turn:
            return None, turn - now
        _, project = self._waiting.pop(0)
        self._last_turn, self._due[project] = now, now + self._interval
        self._waiting.append((now + self._interval, project))
        return project, gap

    def _next_turn(self, now: float, pace: float) -> float:
        """When the next turn must come, so that all that follow at the pace are in time; now if one is late."""
        if self._waiting[0][0] <= now:
            self._turn = None
            return now
        if self._turn is None:
            self._turn = min(due - position * pace for position, (due, _) in enumerate(self._waiting))
        elif self._turn <= self._last_turn:
            self._turn += pace
        return self._turn

    def _changed(self) -> None:
        self._waiting, self._turn = [], None
