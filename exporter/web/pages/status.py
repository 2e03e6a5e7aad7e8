"""The status page: instances in a selection, and links to other selections. Pure."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from exporter.facts.snapshot import ProjectStatus
from exporter.verdict.assess import Verdict
from exporter.verdict.changes import Change
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Selected, Selection
from exporter.verdict.reasons import no_run_in
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.verdict.windows import WINDOW, last_opening
from exporter.web.pages.days import DAY, MEANINGS, DayCell, DayKind, windows_missed
from exporter.web.pages.links import instance_path, next_command
from exporter.web.pages.verdicts import (
    Badge,
    Loss,
    badge,
    change,
    is_current,
    is_read,
    loss,
    next_step,
    reasons_with_age,
    since,
    without_success,
)

PAGE_SIZE = 100
STRIP_DAYS = 14
_GOOD = (Protection.PROTECTED, Protection.EXEMPT)
MAX_PAGE_SIZE = 1000
MAX_SUGGESTIONS = 200  # of projects and label values in the filters
MAX_LABELS = 3  # in the filters, unless the configuration names some

Days = Callable[[Verdict], Sequence[DayCell]]


@dataclass(frozen=True, slots=True)
class Row:
    """One instance. `since` is when its state began; `since_day` the day where only that is known.

    `without_success` says, briefly and in full, whether there ever was a success, if it has no `last_success`.
    """

    verdict: Verdict
    path: str
    badge: Badge
    reasons: tuple[str, ...]
    since: datetime | None
    since_day: date | None
    next_step: str
    loss: Loss
    change: Change | None
    last_success: datetime | None
    without_success: tuple[str, str]
    duration: timedelta | None


@dataclass(frozen=True, slots=True)
class StateCount:
    """The number of instances in a state, and the link that selects them, or that clears this filter."""

    state: Protection
    badge: Badge
    count: int
    outdated: int  # of those, by facts that are not current
    link: str
    selected: bool


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of the table; without a link, it cannot be sorted by."""

    title: str
    link: str = ""
    order: str = ""  # of the table by this value: ascending, descending or empty


@dataclass(frozen=True, slots=True)
class FilterOptions:
    """Values to choose from in the filters: projects, and user labels with their values."""

    projects: Sequence[str]
    labels: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class StatusPage:
    """What the status page shows."""

    selection: Selection
    rows: Sequence[Row]
    total: int
    counts: Sequence[StateCount]
    columns: Sequence[Sequence[Heading]]  # one or two headings each
    kinds: Sequence[DayKind]  # that occur in the rows
    facts_read_at: Sequence[datetime]  # the newest time at which a project was read, and the oldest; or none
    unread_projects: int  # of which nothing is known
    options: FilterOptions
    first_link: str
    previous_link: str  # empty on the first page
    next_link: str  # empty on the last page

    @property
    def most_urgent(self) -> Row | None:
        """The first row, if the worst come first and something is wrong with it."""
        shown = self.rows[0] if self.rows and self.selection.sort == "state" and not self.selection.offset else None
        return shown if shown and shown.verdict.state not in _GOOD else None

    @property
    def title_counts(self) -> Sequence[StateCount]:
        """The counts of the title: those of states that need attention, else all; a title must be short."""
        found = [count for count in self.counts if count.count]
        return [count for count in found if count.state not in _GOOD] or found

    @property
    def next_command(self) -> str:
        """The command with which to begin on the most urgent instance; empty if there is none."""
        return next_command(self.most_urgent.verdict) if self.most_urgent else ""

    @property
    def filtered(self) -> bool:
        """Whether the selection narrows down anything."""
        return bool(_link(replace(self.selection, sort="state", limit=PAGE_SIZE, offset=0)) != "./")


_COLUMNS = (
    (("State", "state"),),
    (("Instance", "instance"), ("Project", "project")),
    (("Reason", ""),),
    (("Loss if restored now", "recovery_point"),),
    (("Next change", ""),),
    (("Last success", "last_success"), ("Duration", "duration")),
    (("Next due", "next_due"), ("UTC", "")),
)


def status_page(
    evaluation: Evaluation,
    selection: Selection,
    selected: Selected,
    outdated: Mapping[Protection, int],
    options: FilterOptions,
    days: Days,
) -> StatusPage:
    """The status page; `outdated` are the numbers of selected instances by facts that are not current, by state."""
    statuses = {status.project: status for status in evaluation.projects}
    size = selection.limit or PAGE_SIZE
    end = selection.offset + size
    cells = [days(verdict) for verdict in selected.verdicts]
    kinds = {cell.kind for of_row in cells for cell in of_row}
    return StatusPage(
        selection=selection,
        rows=[status_row(*row, evaluation, statuses) for row in zip(selected.verdicts, cells, strict=True)],
        total=selected.total,
        counts=[_state_count(state, selection, selected, outdated) for state in WORST_FIRST],
        columns=_columns(selection, evaluation.now.date()),
        kinds=[kind for kind in MEANINGS if kind in kinds],
        facts_read_at=_facts_read_at(evaluation),
        unread_projects=sum(_is_unread(status, selection) for status in evaluation.projects),
        options=options,
        first_link=_link(replace(selection, offset=0)),
        previous_link=_link(replace(selection, offset=max(0, selection.offset - size))) if selection.offset else "",
        next_link=_link(replace(selection, offset=end)) if end < selected.total else "",
    )


def status_row(
    verdict: Verdict, cells: Sequence[DayCell], evaluation: Evaluation, statuses: Mapping[str, ProjectStatus]
) -> Row:
    """The row of an instance."""
    current = is_current(verdict, evaluation, statuses)
    newest, plan = verdict.history.newest_success, verdict.collected.plan
    began = since(verdict, evaluation)
    reasons = reasons_with_age(verdict, evaluation, current=current)
    counters = evaluation.by_project[verdict.instance.id.project].scan.records[verdict.instance.id.name].counters
    return Row(
        verdict=verdict,
        path=instance_path(verdict.instance.id),
        badge=badge(verdict.state, current=current),
        reasons=tuple(with_windows_missed(reason, verdict, cells, evaluation) for reason in reasons),
        since=began,
        since_day=None if began else _since_day(verdict, cells),
        next_step=next_step(verdict),
        loss=loss(verdict, evaluation.now),
        change=change(verdict, evaluation, current=current),
        last_success=plan.recovery_point if plan else newest.end if newest else None,
        without_success=without_success(verdict, counters),
        duration=newest.duration if newest and not plan else None,
    )


def with_windows_missed(reason: str, verdict: Verdict, cells: Sequence[DayCell], evaluation: Evaluation) -> str:
    """The sentence; if it is that the last backup window had no run, with the number of such windows."""
    window_start = verdict.instance.backups.window_start
    if reason != no_run_in(1) or window_start is None:
        return reason
    closed_by = min(evaluation.now, evaluation.facts_read_at(verdict))
    return no_run_in(windows_missed(cells, last_opening(window_start, closed_by - WINDOW).date()))


def _facts_read_at(evaluation: Evaluation) -> Sequence[datetime]:
    scans = [project.scan for project in evaluation.by_project.values()]
    times = [time for scan in scans for time in (scan.read_at, *scan.carried_over.values())]
    return (max(times), min(times)) if times else ()


def _is_unread(status: ProjectStatus, selection: Selection) -> bool:
    """Whether nothing is known of a selected project: its polls fail, or the first one has not ended."""
    selected = not selection.projects or status.project in selection.projects
    return selected and status.scan is None and (bool(status.message) or status.result is None)


def _since_day(verdict: Verdict, cells: Sequence[DayCell]) -> date | None:
    """The first of the last days, without a gap, on which the state was the same."""
    first = None
    for cell in reversed(cells):
        if cell.state != verdict.state:
            break
        first = cell.day
    return first


def outdated_counts(evaluation: Evaluation, select: Callable[[], Sequence[Verdict]]) -> Mapping[Protection, int]:
    """The numbers of selected instances by facts that are not current, by state."""
    statuses = {status.project: status for status in evaluation.projects}
    behind = {
        status.project
        for status in evaluation.projects
        if status.scan and (status.carries_over or not is_read(status, evaluation))
    }
    if not behind:
        return {}
    candidates = (verdict for verdict in select() if verdict.instance.id.project in behind)
    return Counter(verdict.state for verdict in candidates if not is_current(verdict, evaluation, statuses))


def filter_options(verdicts: Sequence[Verdict], projects: Sequence[str], names: Sequence[str]) -> FilterOptions:
    """Values to choose from. `names` are the user labels of the configuration, by default the most frequent ones."""
    values: dict[str, set[str]] = {}
    frequency: Counter[str] = Counter()
    for verdict in verdicts:
        for name, value in verdict.instance.user_labels.items():
            values.setdefault(name, set()).add(value)
            frequency[name] += 1
    names = names or [name for name, _ in frequency.most_common(MAX_LABELS)]
    labels = {name: sorted(values.get(name, ()))[:MAX_SUGGESTIONS] for name in names}
    return FilterOptions(projects[:MAX_SUGGESTIONS], labels)


def _state_count(
    state: Protection, selection: Selection, selected: Selected, outdated: Mapping[Protection, int]
) -> StateCount:
    chosen = selection.states == (state,)
    count, old = selected.counts[state], outdated.get(state, 0)
    link = _link(replace(selection, states=() if chosen else (state,), offset=0))
    return StateCount(state, badge(state, current=not count or old < count), count, old, link, chosen)


def _columns(selection: Selection, today: date) -> Sequence[Sequence[Heading]]:
    """The headings of the table; the dates of its days do not wrap."""
    dates = f"{today - (STRIP_DAYS - 1) * DAY:%b %d} to {today:%b %d}".replace(" ", "\u00a0")
    last_days = ((f"Last {STRIP_DAYS} days", ""), (dates, ""))
    return [[_heading(title, key, selection) for title, key in column] for column in (*_COLUMNS, last_days)]


def _heading(title: str, key: str, selection: Selection) -> Heading:
    if not key:
        return Heading(title)
    order = {key: "ascending", f"-{key}": "descending"}.get(selection.sort, "")
    sort = f"-{key}" if order == "ascending" else key
    return Heading(title, _link(replace(selection, sort=sort, offset=0)), order)


def _link(selection: Selection) -> str:
    """The URL of a selection, relative to the status page."""
    parameters = [item for item in selection.parameters() if item != ("limit", str(PAGE_SIZE))]
    return f"?{urlencode(parameters)}" if parameters else "./"
