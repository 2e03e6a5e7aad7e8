"""A report as one HTML file without foreign resources, to be read and printed. Pure, except for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import groupby

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from exporter.report.data import Report, ReportDay, ReportInstance, Totals
from exporter.report.formats import digest
from exporter.report.summary import percent, summary
from exporter.report.unobserved import unobserved
from exporter.web.pages.charts import CELL, Calendar, CalendarCell, Tick, calendar
from exporter.web.pages.days import MEANINGS, DayCell, DayKind
from exporter.web.pages.words import ICONS, state_word

_MARKS: Mapping[DayKind, str] = {  # what is drawn into a cell, from its corner; color alone does not tell enough
    DayKind.FAILED: "m4 4l5 5m0-5l-5 5",
    DayKind.UNKNOWN: "m4 4l5 5m0-5l-5 5",
    DayKind.OVERDUE: "m6.5 3v4m0 2v1.5",
    DayKind.NO_RUN: "m3.5 6.5h6",
    DayKind.EXEMPT: "m6.5 4.5v4",
    DayKind.NOT_OBSERVED: "m2 11l9-9",
}
_SQUARE = f"h{CELL}v{CELL}h-{CELL}z"


@dataclass(frozen=True, slots=True)
class Drawing:
    """The calendar of one instance: a path for the cells of each kind, their marks, and the days that missed."""

    width: int
    height: int
    cells: Sequence[tuple[str, str]]
    marks: Sequence[tuple[str, str]]
    missed: str
    months: Sequence[Tick]
    weekdays: Sequence[Tick]


def html_text(report: Report) -> str:
    """The report; its sections from the summary to every day of every instance."""
    environment = Environment(
        loader=PackageLoader("exporter.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(percent=percent, word=state_word, age=age_text)
    return environment.get_template("report.html.jinja").render(
        report=report,
        summary=summary(report),
        digest=digest(report),
        drawing=partial(drawing, today=report.today),
        legend=[(kind, meaning, legend_cell(kind)) for kind, meaning in MEANINGS.items()],
        unobserved=unobserved,
        share=within_policy,
        ICONS={**ICONS, "not observed": "◌", "not yet": "◌"},
    )


def within_policy(totals: Totals) -> str:
    """The share of the observed days on which the policy was met; empty without such days."""
    return percent(totals.days_within_policy / totals.days_observed) if totals.days_observed else ""


def age_text(seconds: int) -> str:
    """An age to the second, in hours: `28:10:05`."""
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def drawing(instance: ReportInstance, today: date) -> Drawing:
    """The days of an instance as on its page; one path for each kind, since a report may contain many days."""
    drawn: Calendar = calendar([_cell(day, today) for day in instance.days])
    missed = {day.day for day in instance.days if day.within_policy is False}
    by_kind = {
        kind: list(cells)
        for kind, cells in groupby(sorted(drawn.cells, key=lambda cell: cell.kind), key=lambda cell: cell.kind)
    }
    return Drawing(
        drawn.width,
        drawn.height,
        [(kind, _path(cells, _SQUARE)) for kind, cells in by_kind.items()],
        [(kind, _path(cells, _MARKS[DayKind(kind)])) for kind, cells in by_kind.items() if kind in _MARKS],
        _path([cell for cell, day in zip(drawn.cells, instance.days, strict=True) if day.day in missed], _SQUARE),
        drawn.months,
        drawn.weekdays,
    )


def legend_cell(kind: DayKind) -> Markup:
    """The cell of a kind, as in the calendars."""
    mark = Markup('<path class="mark {}" d="M1 1{}"/>').format(kind, _MARKS[kind]) if kind in _MARKS else ""
    return Markup(
        '<svg class="key" viewBox="0 0 15 15" width="15" height="15" aria-hidden="true">'
        '<path class="cell {}" d="M1 1{}"/>{}</svg>'
    ).format(kind, _SQUARE, mark)


def _cell(day: ReportDay, today: date) -> DayCell:
    return DayCell(day.day, DayKind.PENDING if not day.observed and day.day >= today else day.kind)


def _path(cells: Sequence[CalendarCell], shape: str) -> str:
    return "".join(f"M{cell.x} {cell.y}{shape}" for cell in cells)
