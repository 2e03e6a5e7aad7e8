"""The daily record: one entry per instance and day (UTC) of what was due, what happened and what was observed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from exporter.facts.model import RunStatus

SECONDS_OF_DAY = 86400


@dataclass(frozen=True, slots=True)
class InstanceDay:
    """One instance on one day.

    `state` is the worst one observed, a word of `verdict.rules.Protection`. `outcome` is the worst status of the day's
    runs, those whose window starts on the day. `window_closes` is when the window of an expected run closes, in seconds
    after midnight; `windows_closed` counts those that closed before this one was expected. `within_policy`: the
    recovery point was never older than `max_age`, and the state never unknown; None while exempt. `recovery_point` is
    the latest, in Unix seconds, `worst_age` the largest age of an earlier one. `observed_from` and `observed_until` are
    seconds of the time for which the project was observed on the day; the latter is None while the instance is there.
    """

    state: str
    outcome: RunStatus | None = None
    window_closes: int | None = None
    within_policy: bool | None = None
    recovery_point: int | None = None
    worst_age: int | None = None
    observed_from: int = 0
    observed_until: int | None = None
    windows_closed: int = 0


@dataclass(frozen=True, slots=True)
class ProjectDay:
    """The time for which a project was observed on one day, in seconds, and when it last was."""

    day: date
    observed: float
    observed_until: datetime

    def share(self, instance: InstanceDay) -> float:
        """The share of the day, from 0 to 1, for which one of its instances was observed."""
        until = self.observed if instance.observed_until is None else min(instance.observed_until, self.observed)
        return min(1.0, max(0.0, until - instance.observed_from) / SECONDS_OF_DAY)

    def due(self, instance: InstanceDay, now: datetime) -> int:
        """The number of backup windows of one of its instances that closed on the day, up to now."""
        return self._closed(instance, max(now, self.observed_until))

    def due_while_observed(self, instance: InstanceDay) -> int:
        """The same up to the last observation."""
        return self._closed(instance, self.observed_until)

    def worst_age(self, instance: InstanceDay) -> int | None:
        """The largest age, in seconds, that the recovery point of one of its instances had while observed."""
        ages = [] if instance.worst_age is None else [instance.worst_age]
        if instance.recovery_point is not None:
            ages.append(max(0, int(self.observed_until.timestamp()) - instance.recovery_point))
        return max(ages, default=None)

    def _closed(self, instance: InstanceDay, until: datetime) -> int:
        return instance.windows_closed + closed(self.day, instance.window_closes, until)


@dataclass(frozen=True, slots=True)
class DailyRecord:
    """The current day of a project and of its instances.

    `later_outcomes` are those of runs of earlier days that became known on this day, by day and name of the instance;
    they are saved with these days. `judged` are the verdicts that the record contains already; not saved.
    """

    project: ProjectDay
    instances: Mapping[str, InstanceDay] = field(default_factory=dict)
    later_outcomes: Mapping[tuple[date, str], RunStatus] = field(default_factory=dict, compare=False)
    judged: Mapping[str, object] = field(default_factory=dict, compare=False)


def closed(day: date, window_closes: int | None, now: datetime) -> bool:
    """Whether a window that closes on a day, in seconds after midnight, has closed."""
    return window_closes is not None and start_of(day) + timedelta(seconds=window_closes) <= now


def start_of(day: date) -> datetime:
    """Midnight at which a day begins."""
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def next_midnight(timestamp: datetime) -> datetime:
    """The first midnight after a time."""
    return start_of(timestamp.date()) + timedelta(days=1)
