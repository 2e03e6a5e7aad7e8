"""The page of backup windows: those of a project or the fleet, and the runs of the last days, on 24 hours. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from math import ceil
from urllib.parse import urlencode

from exporter.facts.model import BackupType
from exporter.facts.packed_runs import RunSpan
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.windows import DAY, WINDOW
from exporter.web.pages.charts import format_time_of_day
from exporter.web.pages.links import instance_path
from exporter.web.pages.words import state_word

DAYS = 7
MAX_ROWS = 200  # instances of a project, projects of the fleet
MAX_TOO_SHORT = 50
HOUR_WIDTH, COLUMN_HEIGHT = 20, 90  # of charts by hour

_DAY, _WINDOW, _HOUR = DAY.total_seconds(), WINDOW.total_seconds(), 3600.0
_BUCKET = 300.0  # seconds; runs in the same one count as concurrent
_BUCKETS = int(DAYS * _DAY / _BUCKET)
_BUCKETS_OF_DAY = int(_DAY / _BUCKET)


@dataclass(frozen=True, slots=True)
class Bar:
    """A part of 24 hours, in hours: a run, or a window."""

    start: float
    width: float
    style: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """An instance: its window, its runs of the last days, and what does not fit into the window."""

    project: str
    name: str
    path: str
    window: str
    windows: Sequence[Bar]  # two where the window ends after midnight
    runs: Sequence[Bar]
    number: int
    ended_late: int  # automated runs that ended after their window
    longest: timedelta | None

    @property
    def summary(self) -> str:
        """The chart in words."""
        window = f"window {self.window}" if self.window else "no window known"
        return f"{window}; {self.number} runs in the last {DAYS} days"


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """A project: the number of its instances with a window, and of those whose runs do not fit into it."""

    project: str
    link: str
    instances: int
    runs: int
    too_short: int


@dataclass(frozen=True, slots=True)
class Hour:
    """An hour of the day: the number of windows that are open in it, and the runs of the last days in progress."""

    hour: int
    windows: int
    started: int
    most: int  # at once
    mean: float

    @property
    def text(self) -> str:
        """The hour, such as 03:00 to 04:00."""
        return f"{self.hour:02}:00 to {(self.hour + 1) % 24:02}:00"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a chart by hour, in units of the chart."""

    x: float
    y: float
    width: float
    height: float
    style: str
    text: str


@dataclass(frozen=True, slots=True)
class HourChart:
    """A chart by hour of the day; `most` is the value at its top."""

    name: str
    title: str
    description: str
    most: int
    columns: Sequence[Column]


@dataclass(frozen=True, slots=True)
class WindowsPage:
    """What the page shows: rows of instances for a project, of projects for the fleet."""

    project: str | None
    projects: Sequence[str]
    hours: Sequence[Hour]
    charts: Sequence[HourChart]
    instances: Sequence[InstanceRow]
    of_projects: Sequence[ProjectRow]
    too_short: Sequence[InstanceRow]
    total: int  # instances with a window or a run
    total_projects: int
    number_too_short: int
    most_at_once: int
    most_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Instance:
    """An instance with its runs of the last days; `opens` is when its window does, in seconds after midnight."""

    verdict: Verdict
    opens: float | None
    spans: Sequence[RunSpan]
    ended_late: int


def windows_page(evaluation: Evaluation, project: str | None) -> WindowsPage:
    """The page of a project, or of the fleet."""
    now = evaluation.now.timestamp()
    chosen = evaluation.verdicts if project is None else evaluation.by_project[project].verdicts.values()
    known = [_instance(verdict, now) for verdict in chosen]
    instances = [instance for instance in known if instance.spans or instance.opens is not None]
    too_short = sorted((found for found in instances if found.ended_late), key=lambda found: -found.ended_late)
    by_window = sorted(instances, key=lambda found: (found.opens is None, found.opens or 0))
    load = _load((span for instance in instances for span in instance.spans), now)
    peak = max(range(len(load)), key=load.__getitem__)
    hours = _hours(instances, load, now)
    return WindowsPage(
        project=project,
        projects=list(evaluation.by_project)[:MAX_ROWS],
        hours=hours,
        charts=[_windows_chart(hours), _runs_chart(hours)],
        instances=[] if project is None else [_instance_row(found, now) for found in by_window[:MAX_ROWS]],
        of_projects=_project_rows(instances)[:MAX_ROWS] if project is None else [],
        too_short=[_instance_row(found, now) for found in too_short[:MAX_TOO_SHORT]],
        total=len(instances),
        total_projects=len({found.verdict.instance.id.project for found in instances}),
        number_too_short=len(too_short),
        most_at_once=load[peak],
        most_at=datetime.fromtimestamp(_first_bucket(now) + peak * _BUCKET, UTC) if load[peak] else None,
    )


def _instance(verdict: Verdict, now: float) -> _Instance:
    spans = list(verdict.history.runs.spans(now - DAYS * _DAY))
    return _Instance(verdict, _window(verdict), spans, _ended_late(spans, now))


def _window(verdict: Verdict) -> float | None:
    """When the window of an expected run opens, in seconds after midnight."""
    opens = verdict.instance.backups.window_start
    return None if opens is None or verdict.next_due is None else opens.total_seconds() % _DAY


def _ended_late(spans: Iterable[RunSpan], now: float) -> int:
    """The number of automated runs that ended, or are still in progress, after their window."""
    return sum(span.type is BackupType.AUTOMATED and _end(span, now) > span.scheduled + _WINDOW for span in spans)


def _end(span: RunSpan, now: float) -> float:
    """When a run ended, or now if it is in progress; its start where that is not known."""
    if span.end is not None:
        return max(span.start, span.end)
    return max(span.start, now) if span.status.in_progress else span.start


def _first_bucket(now: float) -> float:
    return (now // _BUCKET + 1 - _BUCKETS) * _BUCKET


def _load(spans: Iterable[RunSpan], now: float) -> list[int]:
    """The number of runs in progress in each bucket of the last days."""
    first = _first_bucket(now)
    changes = [0] * (_BUCKETS + 1)
    for span in spans:
        begin = int((span.start - first) // _BUCKET)
        end = max(begin + 1, ceil((_end(span, now) - first) / _BUCKET))
        if end > 0 and begin < _BUCKETS:
            changes[max(begin, 0)] += 1
            changes[min(end, _BUCKETS)] -= 1
    return list(accumulate(changes))[:_BUCKETS]


def _hours(instances: Sequence[_Instance], load: Sequence[int], now: float) -> list[Hour]:
    """The hours of the day."""
    openings = Counter(instance.opens for instance in instances if instance.opens is not None)
    windows: Counter[int] = Counter()
    for opens, count in openings.items():
        last = int((opens + _WINDOW - 1) // _HOUR)
        for hour in range(int(opens // _HOUR), last + 1):
            windows[hour % 24] += count
    started = Counter(int(span.start % _DAY // _HOUR) for instance in instances for span in instance.spans)
    by_hour: list[list[int]] = [[] for _ in range(24)]
    offset = int(_first_bucket(now) % _DAY // _BUCKET)
    for position, count in enumerate(load, offset):
        by_hour[position % _BUCKETS_OF_DAY * 24 // _BUCKETS_OF_DAY].append(count)
    return [
        Hour(hour, windows[hour], started[hour], max(counts), sum(counts) / len(counts))
        for hour, counts in enumerate(by_hour)
    ]


def _windows_chart(hours: Sequence[Hour]) -> HourChart:
    most = max(hour.windows for hour in hours)
    columns = [_column(hour, hour.windows, most, "band", f"{hour.windows} open windows") for hour in hours]
    return HourChart("windows", "Open windows", "Backup windows that are open in each hour", most, columns)


def _runs_chart(hours: Sequence[Hour]) -> HourChart:
    most = max(hour.most for hour in hours)
    columns = [_column(hour, hour.most, most, "most", f"at most {hour.most} runs at once") for hour in hours]
    columns += [_column(hour, hour.mean, most, "mean", f"{hour.mean:.1f} runs on average") for hour in hours]
    description = f"Runs in progress in each hour of the last {DAYS} days: most at once (outlined), on average (filled)"
    return HourChart("load", "Runs in progress", description, most, columns)


def _column(hour: Hour, value: float, most: int, style: str, text: str) -> Column:
    height = round(COLUMN_HEIGHT * value / max(1, most), 1)
    x = hour.hour * HOUR_WIDTH + 1
    return Column(x, round(COLUMN_HEIGHT - height, 1), HOUR_WIDTH - 2, height, style, f"{hour.text}: {text}")


def _instance_row(instance: _Instance, now: float) -> InstanceRow:
    opens, identity = instance.opens, instance.verdict.instance.id
    lengths = [_end(span, now) - span.start for span in instance.spans]
    return InstanceRow(
        project=identity.project,
        name=identity.name,
        path=instance_path(identity),
        window=""
        if opens is None
        else f"{format_time_of_day(opens)} to {format_time_of_day((opens + _WINDOW) % _DAY)}",
        windows=[] if opens is None else _bars(opens, _WINDOW),
        runs=[bar for span in instance.spans for bar in _run_bars(span, now)],
        number=len(instance.spans),
        ended_late=instance.ended_late,
        longest=timedelta(seconds=max(lengths)) if lengths else None,
    )


def _run_bars(span: RunSpan, now: float) -> list[Bar]:
    end = _end(span, now)
    begin = datetime.fromtimestamp(span.start, UTC)
    text = f"{begin:%Y-%m-%d %H:%M} to {datetime.fromtimestamp(end, UTC):%H:%M}, {state_word(span.status)}"
    style = "in_progress" if span.status.in_progress else span.status.lower() if span.status.completed else "other"
    return _bars(span.start % _DAY, end - span.start, style, text)


def _bars(start: float, length: float, style: str = "", text: str = "") -> list[Bar]:
    """A time of at most a day that begins at a time of day; two parts where it contains midnight."""
    end = start + min(length, _DAY)
    parts = [(start, min(end, _DAY)), (0.0, end - _DAY)]
    return [
        Bar(round(first / _HOUR, 3), round((last - first) / _HOUR, 3), style, text)
        for first, last in parts
        if last > first or (first, last) == parts[0]
    ]


def _project_rows(instances: Iterable[_Instance]) -> list[ProjectRow]:
    """The projects, those with the most instances whose runs do not fit first."""
    by_project: dict[str, list[_Instance]] = {}
    for instance in instances:
        by_project.setdefault(instance.verdict.instance.id.project, []).append(instance)
    rows = [
        ProjectRow(
            project=project,
            link=f"windows?{urlencode({'project': project})}",
            instances=len(found),
            runs=sum(len(instance.spans) for instance in found),
            too_short=sum(instance.ended_late > 0 for instance in found),
        )
        for project, found in by_project.items()
    ]
    return sorted(rows, key=lambda row: (-row.too_short, -row.instances, row.project))
