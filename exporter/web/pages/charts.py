"""Charts of the runs of an instance, and the calendar of its days, as coordinates for SVG. Pure."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.config import format_duration
from exporter.facts.model import BackupRun, RunStatus
from exporter.verdict.windows import DAY, WINDOW
from exporter.web.pages.days import DayCell
from exporter.web.pages.words import bytes_text, state_word

WIDTH, HEIGHT = 760, 190
LEFT, RIGHT, TOP, BOTTOM = 62, 12, 12, 24  # margins around the plot
MAX_DATES = 8  # on the time axis
MAX_VALUES = 5  # on the value axis

CELL = 13  # the side of a day in the calendar, and the distance to the next one
STEP = 15
CALENDAR_LEFT, CALENDAR_TOP = 32, 18

_DURATION_STEPS = tuple(
    timedelta(seconds=seconds)
    for seconds in (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
)


@dataclass(frozen=True, slots=True)
class Point:
    """A run in a chart; `shape` is a circle, a square or a cross."""

    x: float
    y: float
    style: str
    shape: str
    text: str


@dataclass(frozen=True, slots=True)
class Tick:
    """A label on an axis."""

    position: float
    text: str


@dataclass(frozen=True, slots=True)
class Band:
    """A horizontal band."""

    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of runs over time. `limit` and `usual` are lines with a label."""

    name: str
    title: str
    description: str
    points: Sequence[Point]
    dates: Sequence[Tick]
    values: Sequence[Tick]
    bands: Sequence[Band] = ()
    limit: Tick | None = None
    usual: Tick | None = None


@dataclass(frozen=True, slots=True)
class CalendarCell:
    """A day in the calendar."""

    x: int
    y: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Calendar:
    """Days with weeks as columns, from Monday to Sunday."""

    width: int
    height: int
    cells: Sequence[CalendarCell]
    months: Sequence[Tick]
    weekdays: Sequence[Tick]


def duration_chart(
    runs: Iterable[BackupRun], now: datetime, limit: timedelta, usual: timedelta | None = None
) -> Chart | None:
    """The durations of the runs that ended; None without any. `usual` is the median of some of them."""
    values = [(run, run.duration.total_seconds()) for run in runs if run.duration is not None]
    if not values:
        return None
    largest = max(seconds for _, seconds in values)
    step = next((step for step in _DURATION_STEPS if step.total_seconds() * MAX_VALUES >= largest), DAY)
    while step.total_seconds() * MAX_VALUES < largest:
        step *= 2
    shown_limit = limit.total_seconds() if limit.total_seconds() <= 2 * largest else None
    top = max(step.total_seconds(), largest, shown_limit or 0) * 1.08
    return Chart(
        "duration",
        "Duration",
        f"Duration of each run; the policy allows {format_duration(limit)}",
        _points(values, now, top, lambda seconds: format_duration(timedelta(seconds=seconds))),
        _dates([run for run, _ in values], now),
        _value_ticks(step.total_seconds(), top, lambda seconds: format_duration(timedelta(seconds=seconds))),
        limit=None if shown_limit is None else Tick(_y(shown_limit, top), f"limit {format_duration(limit)}"),
        usual=None if usual is None else Tick(_y(usual.total_seconds(), top), f"usual {format_duration(usual)}"),
    )


def size_chart(runs: Iterable[BackupRun], now: datetime, usual: float | None = None) -> Chart | None:
    """The sizes of the runs that report one; None without any. `usual` is the median of some of them."""
    values = [(run, float(run.size_bytes)) for run in runs if run.size_bytes is not None]
    if not values:
        return None
    largest = max(size for _, size in values)
    step = 1.0
    while step * MAX_VALUES < largest:
        step *= 2
    top = max(step, largest) * 1.08
    return Chart(
        "size",
        "Size",
        "Size of each backup, where the API reports it",
        _points(values, now, top, lambda size: bytes_text(int(size))),
        _dates([run for run, _ in values], now),
        _value_ticks(step, top, lambda size: bytes_text(int(size))),
        usual=None if usual is None else Tick(_y(usual, top), f"usual {bytes_text(int(usual))}"),
    )


def start_chart(runs: Iterable[BackupRun], now: datetime, window_start: timedelta | None) -> Chart | None:
    """The times of day at which runs started, and the backup window; None without any."""
    started = [run for run in runs if run.start is not None]
    if not started:
        return None
    day = DAY.total_seconds()
    values = [(run, day - _time_of_day(run.effective_start)) for run in started]  # 00:00 is at the top
    bands = []
    if window_start is not None:
        opens, closes = window_start.total_seconds(), (window_start + WINDOW).total_seconds()
        spans = [(opens, min(closes, day)), (0.0, closes - day)]
        bands = [
            Band(_y(day - first, day), _y(day - last, day) - _y(day - first, day))
            for first, last in spans
            if last > first
        ]
    return Chart(
        "start",
        "Start time",
        "Time of day (UTC) at which each run started; the band is the backup window",
        _points(values, now, day, lambda value: f"started {format_time_of_day(day - value)}"),
        _dates(started, now),
        [Tick(_y(day - hour * 3600, day), f"{hour:02}:00") for hour in range(0, 25, 6)],
        bands,
    )


def calendar(cells: Sequence[DayCell]) -> Calendar:
    """Consecutive days as a calendar."""
    offset = cells[0].day.weekday() if cells else 0
    weeks = (offset + len(cells) + 6) // 7
    drawn, months = [], []
    for number, cell in enumerate(cells, offset):
        x = CALENDAR_LEFT + number // 7 * STEP
        drawn.append(CalendarCell(x, CALENDAR_TOP + number % 7 * STEP, cell.kind, cell.text))
        if cell.day.day == 1 and number // 7 < weeks - 1:
            months.append(Tick(x, f"{cell.day:%b %Y}" if cell.day.month == 1 else f"{cell.day:%b}"))
    weekdays = [Tick(CALENDAR_TOP + row * STEP + CELL - 2, name) for row, name in ((0, "Mon"), (2, "Wed"), (4, "Fri"))]
    return Calendar(CALENDAR_LEFT + max(weeks, 12) * STEP, CALENDAR_TOP + 7 * STEP, drawn, months, weekdays)


def format_time_of_day(seconds: float) -> str:
    """Seconds after midnight as a time of day."""
    return f"{int(seconds) // 3600:02}:{int(seconds) % 3600 // 60:02}"


def _time_of_day(timestamp: datetime) -> float:
    return (timestamp - timestamp.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


def _points(
    values: Iterable[tuple[BackupRun, float]], now: datetime, top: float, text: Callable[[float], str]
) -> list[Point]:
    values = list(values)
    first = min(run.scheduled for run, _ in values)
    return [
        Point(
            round(_x(run.scheduled, first, now), 1),
            round(_y(value, top), 1),
            _style(run),
            _shape(run),
            f"{run.scheduled:%Y-%m-%d %H:%M}: {text(value)}, {state_word(run.status)} ({state_word(run.type)})",
        )
        for run, value in values
    ]


def _style(run: BackupRun) -> str:
    if run.status.in_progress:
        return "in_progress"
    return run.status.lower() if run.status.completed else "other"


def _shape(run: BackupRun) -> str:
    if run.status is RunStatus.FAILED:
        return "cross"
    return "circle" if run.type == "AUTOMATED" else "square"


def _x(timestamp: datetime, first: datetime, now: datetime) -> float:
    span = max((now - first).total_seconds(), 1.0)
    share = min(1.0, max(0.0, (timestamp - first).total_seconds() / span))
    return LEFT + 8 + share * (WIDTH - LEFT - RIGHT - 16)


def _y(value: float, top: float) -> float:
    return round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1)


def _dates(runs: Sequence[BackupRun], now: datetime) -> list[Tick]:
    """Midnights, at most MAX_DATES of them."""
    first = min(run.scheduled for run in runs)
    midnight = first.replace(hour=0, minute=0, second=0, microsecond=0) + DAY
    days = max(0, (now - midnight) // DAY)
    every = days // MAX_DATES + 1
    return [
        Tick(round(_x(midnight + number * DAY, first, now), 1), f"{midnight + number * DAY:%b %d}")
        for number in range(0, days + 1, every)
        if midnight + number * DAY <= now
    ]


def _value_ticks(step: float, top: float, text: Callable[[float], str]) -> list[Tick]:
    return [Tick(_y(number * step, top), text(number * step)) for number in range(int(top / step) + 1)]
