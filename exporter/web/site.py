"""The pages for people, rendered from what the exporter knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime

from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from exporter.config import format_duration
from exporter.facts.model import InstanceId
from exporter.runtime import Exporter
from exporter.verdict import summary
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Listing, Selection
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.web.pages.days import DAY, LETTERS, MEANINGS, DayCell, day_cells
from exporter.web.pages.deleted_instances import deleted_instances_page
from exporter.web.pages.exporter import exporter_page
from exporter.web.pages.instance import CALENDAR, instance_page
from exporter.web.pages.links import Sites
from exporter.web.pages.names import similar_names, similar_projects
from exporter.web.pages.status import (
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    STRIP_DAYS,
    FilterOptions,
    filter_options,
    outdated_counts,
    status_page,
)
from exporter.web.pages.verdicts import is_read
from exporter.web.pages.windows import DAYS, WindowsPage, windows_page
from exporter.web.renderer import Renderer

MAX_STRIPS = 20_000  # kept until then


class Site:
    """The status page and the pages of instances. What does not depend on the request is cached."""

    def __init__(self, exporter: Exporter, listing: Listing, renderer: Renderer, sites: Sites) -> None:
        self._exporter, self._listing, self._renderer, self._sites = exporter, listing, renderer, sites
        self._strips: dict[InstanceId, _Strip] = {}
        self._options: tuple[tuple[Verdict, ...], FilterOptions] | None = None
        self._fleet: tuple[tuple[datetime, int], WindowsPage] | None = None
        self._latest: Evaluation | None = None

    def evaluation(self) -> Evaluation:
        """Everything known, judged as of now; parts that have not changed are the same objects as before."""
        self._latest = evaluation = self._exporter.evaluate(self._latest)
        return evaluation

    def status(self, request: Request) -> Response:
        """Return the status page."""
        evaluation = self.evaluation()
        try:
            selection = Selection.parse(request.query_params.multi_items(), PAGE_SIZE)
        except ValueError as error:
            return self._error(request, evaluation, 400, "This view is not valid", str(error))
        selection = _limited(selection)
        outdated = self._outdated(evaluation, selection)
        page = status_page(
            evaluation,
            selection,
            self._listing.select(evaluation, selection),
            outdated,
            self._filter_options(evaluation),
            lambda verdict: self._strip(evaluation, verdict).cells,
        )
        return self._renderer.page(
            "status.html.jinja",
            request,
            evaluation,
            icon=_worst_state(evaluation, any_outdated=bool(outdated)),
            page=page,
            problem_texts=_problem_texts(evaluation),
            strip=lambda verdict: self._strip(evaluation, verdict).html,
            states=WORST_FIRST,
            meanings=MEANINGS,
            letters=LETTERS,
        )

    def instance(self, request: Request) -> Response:
        """Return the page of an instance, or one that suggests others."""
        evaluation = self.evaluation()
        project, name = request.path_params["project"], request.path_params["instance"]
        verdicts = evaluation.by_project.get(project)
        verdict = verdicts.verdicts.get(name) if verdicts else None
        if verdicts is None or verdict is None:
            return self._unknown_instance(request, evaluation, InstanceId(project, name))
        today = evaluation.now.date()
        recorded = self._exporter.days(project, name, today - CALENDAR, today)
        page = instance_page(evaluation, verdict, verdicts.scan.records[name], recorded, self._sites)
        return self._renderer.page(
            "instance.html.jinja",
            request,
            evaluation,
            icon=Protection.UNKNOWN if page.row.badge.style == "stale" else verdict.state,
            page=page,
            problem_texts=_problem_texts(_of_project(evaluation, project)),
            meanings=MEANINGS,
            letters=LETTERS,
        )

    def windows(self, request: Request) -> Response:
        """Return the page of the backup windows of a project, or of the fleet."""
        evaluation = self.evaluation()
        project = request.query_params.get("project", "").strip() or None
        if project is not None and project not in evaluation.by_project:
            suggestions, message = similar_projects(evaluation, project, "windows")
            return self._error(request, evaluation, 404, "Project not found", message, suggestions)
        return self._renderer.page(
            "windows.html.jinja",
            request,
            evaluation,
            icon=None,
            page=self._windows_page(evaluation, project),
            days=DAYS,
            problem_texts=_problem_texts(_of_project(evaluation, project) if project else evaluation),
        )

    def deleted_instances(self, request: Request) -> Response:
        """Return the page of deleted instances of a project, or of all."""
        evaluation = self.evaluation()
        project = request.query_params.get("project", "").strip() or None
        if project is not None and not any(status.project == project for status in evaluation.projects):
            suggestions, message = similar_projects(evaluation, project, "deleted")
            return self._error(request, evaluation, 404, "Project not found", message, suggestions)
        return self._renderer.page(
            "deleted.html.jinja",
            request,
            evaluation,
            icon=None,
            page=deleted_instances_page(evaluation, project),
            problem_texts=_problem_texts(_of_project(evaluation, project) if project else evaluation),
        )

    def exporter(self, request: Request) -> Response:
        """Return the page of the exporter itself."""
        evaluation = self.evaluation()
        return self._renderer.page(
            "exporter.html.jinja",
            request,
            evaluation,
            icon=None,
            page=exporter_page(evaluation, self._exporter.api_usage()),
            problem_texts=_problem_texts(replace(evaluation, projects=(), searches=())),  # these are in tables
        )

    def _unknown_instance(self, request: Request, evaluation: Evaluation, instance: InstanceId) -> Response:
        suggestions, message = similar_names(evaluation, instance)
        return self._error(request, evaluation, 404, "Instance not found", message, suggestions)

    def _error(
        self,
        request: Request,
        evaluation: Evaluation,
        status_code: int,
        heading: str,
        message: str,
        suggestions: Sequence[tuple[str, str]] = (),
    ) -> Response:
        return self._renderer.page(
            "error.html.jinja",
            request,
            evaluation,
            icon=None,
            status_code=status_code,
            heading=heading,
            message=message,
            suggestions=suggestions,
        )

    def _outdated(self, evaluation: Evaluation, selection: Selection) -> Mapping[Protection, int]:
        """The numbers of instances that the selection would have without its states, by facts that are not current."""
        everything = Selection(projects=selection.projects, text=selection.text, labels=selection.labels)
        return outdated_counts(evaluation, lambda: self._listing.select(evaluation, everything).verdicts)

    def _filter_options(self, evaluation: Evaluation) -> FilterOptions:
        if self._options is None or self._options[0] is not evaluation.verdicts:
            projects = [status.project for status in evaluation.projects]
            options = filter_options(evaluation.verdicts, projects, evaluation.config.collect.user_labels)
            self._options = (evaluation.verdicts, options)
        return self._options[1]

    def _windows_page(self, evaluation: Evaluation, project: str | None) -> WindowsPage:
        """The page of backup windows; that of the fleet is made at most once a minute for the same instances."""
        if project is not None:
            return windows_page(evaluation, project)
        key = (evaluation.now.replace(second=0, microsecond=0), len(evaluation.verdicts))
        if self._fleet is None or self._fleet[0] != key:
            self._fleet = (key, windows_page(evaluation, None))
        return self._fleet[1]

    def _strip(self, evaluation: Evaluation, verdict: Verdict) -> "_Strip":
        """The last days of an instance; read again after each poll, and each day."""
        instance, today = verdict.instance.id, evaluation.now.date()
        read_at = evaluation.by_project[instance.project].scan.read_at
        known = self._strips.get(instance)
        if known and (known.read_at, known.today) == (read_at, today):
            return known
        first = today - (STRIP_DAYS - 1) * DAY
        recorded = self._exporter.days(instance.project, instance.name, first, today)
        cells = day_cells(recorded, verdict.history.runs, first, today, today)
        if len(self._strips) >= MAX_STRIPS:
            self._strips.clear()
        self._strips[instance] = strip = _Strip(read_at, today, cells, self._renderer.strip(cells))
        return strip


@dataclass(frozen=True, slots=True)
class _Strip:
    """The last days of an instance, also as HTML; valid until the next poll of its project, and until midnight."""

    read_at: datetime
    today: date
    cells: Sequence[DayCell]
    html: Markup


def _limited(selection: Selection) -> Selection:
    """The selection with a page that is not too large to render."""
    return replace(selection, limit=min(selection.limit or PAGE_SIZE, MAX_PAGE_SIZE))


def _worst_state(evaluation: Evaluation, *, any_outdated: bool) -> Protection | None:
    """The worst state of all instances, for the icon; unknown rather than good by facts that are not current."""
    states = {verdict.state for verdict in evaluation.verdicts}
    if any_outdated or any(status.message for status in evaluation.projects):
        states.add(Protection.UNKNOWN)
    return next((state for state in WORST_FIRST if state in states), None)


def _of_project(evaluation: Evaluation, project: str) -> Evaluation:
    """The part of an evaluation that problems of one project are read from."""
    return replace(evaluation, projects=tuple(s for s in evaluation.projects if s.project == project), searches=())


def _problem_texts(evaluation: Evaluation) -> list[str]:
    """What the exporter does not know, and what to do about it."""
    texts = summary.problems(evaluation)
    waiting = [status.project for status in evaluation.projects if status.result is None]
    if waiting:
        text = f"{len(waiting)} projects are" if len(waiting) > 1 else f"project {waiting[0]!r} is"
        texts.append(f"{text} still to be polled for the first time: what is shown was known before the start")
    late = [each.last_success for each in evaluation.projects if each.up and not is_read(each, evaluation)]
    if late:
        text = f"{len(late)} projects were" if len(late) > 1 else "a project was"
        oldest = min(timestamp for timestamp in late if timestamp)
        age = format_duration(evaluation.now - oldest)
        texts.append(f"{text} last read {age} ago: polls are late; check the rate limit and the log")
    if not evaluation.exporter.reload_successful:
        texts.append("the last reload of the configuration failed: the one before it is in force; see the log")
    if not evaluation.exporter.state_persistent and evaluation.config.state.path is not None:
        texts.append("state cannot be saved: counters and days are lost at a restart; see the log")
    return texts
