"""The days of an instance: a cell for each, the worst run of the day wins. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from itertools import groupby, takewhile

from exporter.facts.daily import InstanceDay, ProjectDay, next_midnight, start_of
from exporter.facts.model import RunStatus
from exporter.facts.packed_runs import PackedRuns
from exporter.verdict.daily import outcomes
from exporter.verdict.rules import RESOLUTION, Protection
from exporter.verdict.windows import WINDOW
from exporter.web.pages.words import state_word

DAY = timedelta(days=1)

RecordedDays = Sequence[tuple[ProjectDay, InstanceDay]]


class DayKind(StrEnum):
    """What a cell shows."""

    FAILED = "failed"
    OVERDUE = "overdue"
    UNKNOWN = "unknown"
    IN_PROGRESS = "in_progress"
    SKIPPED = "skipped"
    SUCCESSFUL = "successful"
    NO_RUN = "no_run"
    PENDING = "pending"
    EXEMPT = "exempt"
    NOT_OBSERVED = "not_observed"


LETTERS: Mapping[DayKind, str] = {
    DayKind.FAILED: "✖",
    DayKind.OVERDUE: "!",
    DayKind.UNKNOWN: "?",
    DayKind.IN_PROGRESS: "…",
    DayKind.SKIPPED: "s",
    DayKind.SUCCESSFUL: "✔",
    DayKind.NO_RUN: "–",
    DayKind.PENDING: "·",
    DayKind.EXEMPT: "○",
    DayKind.NOT_OBSERVED: " ",
}

MEANINGS: Mapping[DayKind, str] = {
    DayKind.SUCCESSFUL: "successful",
    DayKind.SKIPPED: "skipped: no new data",
    DayKind.FAILED: "failed",
    DayKind.OVERDUE: "overdue",
    DayKind.IN_PROGRESS: "in progress",
    DayKind.UNKNOWN: "unknown",
    DayKind.NO_RUN: "no run",
    DayKind.PENDING: "no run yet",
    DayKind.EXEMPT: "exempt",
    DayKind.NOT_OBSERVED: "not observed",
}

_OUTCOMES: Mapping[RunStatus, DayKind] = {
    RunStatus.FAILED: DayKind.FAILED,
    RunStatus.OVERDUE: DayKind.OVERDUE,
    RunStatus.RUNNING: DayKind.IN_PROGRESS,
    RunStatus.ENQUEUED: DayKind.IN_PROGRESS,
    RunStatus.SKIPPED: DayKind.SKIPPED,
    RunStatus.SUCCESSFUL: DayKind.SUCCESSFUL,
}


@dataclass(frozen=True, slots=True)
class DayCell:
    """One day. `state` is the worst one observed, and `observed_share` from 0 to 1; None where nothing was observed."""

    day: date
    kind: DayKind
    state: str | None = None
    observed_share: float | None = None
    worst_age: timedelta | None = None
    within_policy: bool | None = None

    @property
    def letter(self) -> str:
        """A letter, since color alone does not tell everyone enough."""
        return LETTERS[self.kind]

    @property
    def text(self) -> str:
        """The day in words."""
        state = f", {state_word(self.state)}" if self.state else ""
        return f"{self.day:%b %d}: {MEANINGS[self.kind]}{state}"


def description(cells: Sequence[DayCell]) -> str:
    """Consecutive days in words, those of which the same is to be said together."""
    groups = [list(group) for _, group in groupby(cells, key=lambda cell: (cell.kind, cell.state))]
    return "; ".join(f"{group[0].day:%b %d} to {group[-1].text}" if group[1:] else group[0].text for group in groups)


def windows_missed(cells: Sequence[DayCell], opened: date) -> int:
    """The number of backup windows without a run, one after another, of which the last one opened on a day."""
    newest_first = (cell for cell in reversed(cells) if cell.day <= opened)
    return len(list(takewhile(lambda cell: cell.kind in (DayKind.NO_RUN, DayKind.OVERDUE), newest_first)))


def day_cells(recorded: RecordedDays, runs: PackedRuns, first: date, last: date, today: date) -> list[DayCell]:
    """The cells of the days from one to another: runs as they are listed now, else as the daily record has them."""
    by_day = {project.day: (project, instance) for project, instance in recorded}
    listed = outcomes(runs, first)
    return [_cell(day, by_day.get(day), listed.get(day), today) for day in _days(first, last)]


def _days(first: date, last: date) -> Iterator[date]:
    return (first + number * DAY for number in range((last - first).days + 1))


def _cell(day: date, recorded: tuple[ProjectDay, InstanceDay] | None, listed: RunStatus | None, today: date) -> DayCell:
    if recorded is None:
        return DayCell(day, _OUTCOMES.get(listed, DayKind.UNKNOWN) if listed else DayKind.NOT_OBSERVED)
    project, instance = recorded
    worst_age = project.worst_age(instance)
    return DayCell(
        day,
        day_kind(project, instance, listed or instance.outcome, today),
        instance.state,
        project.share(instance),
        None if worst_age is None else timedelta(seconds=worst_age),
        instance.within_policy,
    )


def day_kind(project: ProjectDay, instance: InstanceDay, outcome: RunStatus | None, today: date) -> DayKind:
    """What the cell of an observed day shows, by the worst run of the day."""
    if outcome:
        return _OUTCOMES.get(outcome, DayKind.UNKNOWN)
    if instance.state == Protection.EXEMPT:
        return DayKind.EXEMPT
    if _window_passed(project, instance):
        return DayKind.UNKNOWN if instance.state == Protection.UNKNOWN else DayKind.NO_RUN
    if instance.window_closes is None:  # no run is expected, for example since backups are disabled
        return DayKind.PENDING if project.day == today else DayKind.NO_RUN
    return DayKind.PENDING if project.day == today else DayKind.NOT_OBSERVED


def _window_passed(project: ProjectDay, instance: InstanceDay) -> bool:
    """Whether the window that opens on the day has passed while observed; over midnight, as far as the day goes."""
    if instance.window_closes is None or instance.window_closes >= WINDOW.total_seconds():
        return bool(project.due_while_observed(instance))
    return project.observed_until >= next_midnight(start_of(project.day)) - RESOLUTION
