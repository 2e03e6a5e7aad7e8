"""The page of the exporter itself: what it could read, its requests, and its configuration. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.config import (
    FolderTarget,
    InstanceSelector,
    OrganizationTarget,
    ProjectTarget,
    SearchingTarget,
    effective_yaml,
    format_duration,
)
from exporter.facts.model import PollResult
from exporter.facts.snapshot import DiscoveryMethod, ProjectState, ProjectStatus, SearchStatus, project_counts
from exporter.googleapis.permissions import MEMBER_ADVICE, UNKNOWN_MEMBER, iam_member, permission_named
from exporter.runtime import ApiUsage
from exporter.verdict.evaluate import Evaluation
from exporter.web.pages.verdicts import Badge
from exporter.web.pages.words import ICONS, state_word

MAX_PROJECTS = 500


@dataclass(frozen=True, slots=True)
class ProjectRow:
    """The polls of a project. `unknown_at`: when its verdicts become unknown, or became so, while polls fail."""

    status: ProjectStatus
    badge: Badge
    text: str
    command: str
    unknown_at: datetime | None
    successful: int
    failed: int

    @property
    def instances(self) -> int | None:
        """The number of selected instances; None before the project was read."""
        return len(self.status.scan.records) if self.status.scan else None


@dataclass(frozen=True, slots=True)
class TargetRow:
    """A target of the configuration, and the projects that it stands for."""

    kind: str
    name: str
    instances: str
    refresh: timedelta | None
    badge: Badge
    text: str
    command: str
    projects: int


@dataclass(frozen=True, slots=True)
class CollectionRow:
    """The last round of an optional collection of a project."""

    project: str
    name: str
    badge: Badge
    text: str
    command: str


@dataclass(frozen=True, slots=True)
class MethodRow:
    """Requests of one API method. `mean` is their mean duration."""

    method: str
    total: int
    codes: str
    retries: int
    mean: timedelta


@dataclass(frozen=True, slots=True)
class ExporterPage:
    """What the page of the exporter shows. `projects` are those that need attention first, at most MAX_PROJECTS."""

    projects: Sequence[ProjectRow]
    total: int
    current: int  # projects that the last poll read completely
    states: Mapping[ProjectState, int]
    targets: Sequence[TargetRow]
    collections: Sequence[CollectionRow]
    methods: Sequence[MethodRow]
    usage: ApiUsage
    configuration: str
    python_version: str
    revision: str
    state: str
    last_reload: datetime

    @property
    def member_advice(self) -> str:
        """What stands for the account in the commands; empty where they name it, or there are none."""
        commands = [row.command for rows in (self.projects, self.targets, self.collections) for row in rows]
        shown = any(f"--member={UNKNOWN_MEMBER} " in command for command in commands)
        return MEMBER_ADVICE if shown else ""


def exporter_page(evaluation: Evaluation, usage: ApiUsage) -> ExporterPage:
    """The page of the exporter."""
    rows = sorted((_project_row(status, evaluation) for status in evaluation.projects), key=_attention)
    info = evaluation.exporter
    return ExporterPage(
        projects=rows[:MAX_PROJECTS],
        total=len(rows),
        current=sum(row.badge in (_SUCCESS, _EMPTY) for row in rows),
        states=project_counts(evaluation.projects),
        targets=_target_rows(evaluation),
        collections=_collection_rows(evaluation)[:MAX_PROJECTS],
        methods=[
            MethodRow(
                method=method.method,
                total=sum(method.requests.values()),
                codes=", ".join(f"{count} × {code}" for code, count in method.requests.items()),
                retries=method.retries,
                mean=method.total_duration / max(1, sum(method.requests.values())),
            )
            for method in usage.methods
        ],
        usage=usage,
        configuration=effective_yaml(evaluation.config),
        python_version=info.python_version,
        revision=info.revision,
        state=_state(evaluation),
        last_reload=info.last_successful_reload,
    )


_SUCCESS = Badge("success", ICONS["protected"], "protected")
_PARTIAL = Badge("partial", ICONS["at_risk"], "at_risk")
_OUTDATED = Badge("outdated", ICONS["stale"], "stale")
_PENDING = Badge("pending", "…", "exempt")
_EMPTY = Badge("empty", ICONS["protected"], "protected")
_NO_API = Badge("not enabled", ICONS["exempt"], "exempt")
_METHODS = {
    DiscoveryMethod.INVENTORY: "found in Cloud Asset Inventory",
    DiscoveryMethod.WALK: "found folder by folder",
}


_CURRENT = (_SUCCESS, _PARTIAL, _EMPTY, _NO_API)


def _failed(word: str) -> Badge:
    return Badge(word, ICONS["unprotected"], "unprotected")


def _project_row(status: ProjectStatus, evaluation: Evaluation) -> ProjectRow:
    badge, text = _project_result(status, evaluation)
    read_at, stale_after = status.last_success, evaluation.config.poll.stale_after
    return ProjectRow(
        status=status,
        badge=badge,
        text=text,
        command=_grant_command(status.project, status.missing_permission, status.account, evaluation),
        unknown_at=read_at + stale_after if read_at and badge not in _CURRENT else None,
        successful=status.polls[PollResult.SUCCESS],
        failed=sum(status.polls.values()) - status.polls[PollResult.SUCCESS],
    )


def _project_result(status: ProjectStatus, evaluation: Evaluation) -> tuple[Badge, str]:
    """The result of the last poll, and what it means or what to do."""
    if status.result is None:
        return _PENDING, "its first poll is in progress; what is shown is from the saved state" if status.scan else ""
    rarely = f"polled every {format_duration(evaluation.config.poll.empty_interval)}"
    if status.state is ProjectState.API_DISABLED:
        return _NO_API, f"found by a search; the Cloud SQL Admin API is not enabled; {rarely}"
    if not status.up:
        return _failed(state_word(status.result)), status.message
    if status.state is ProjectState.EMPTY and status.found:
        return _EMPTY, f"no instance; {rarely}"
    if status.last_success and evaluation.now - status.last_success > evaluation.config.poll.stale_after:
        return _OUTDATED, "not polled again in time: see /-/healthy and the log"
    if status.unreachable_regions:
        regions = ", ".join(status.unreachable_regions)
        return _PARTIAL, f"the API cannot reach {regions}: instances there are missing, or shown as last known"
    if status.scan and not status.scan.records:
        return (_EMPTY, "no instance") if status.state is ProjectState.EMPTY else (_SUCCESS, "no instance is selected")
    return _SUCCESS, ""


def _attention(row: ProjectRow) -> int:
    """Lower needs more attention."""
    return {"unprotected": 0, "stale": 1, "at_risk": 2, "exempt": 3}.get(row.badge.style, 4)


def _collection_rows(evaluation: Evaluation) -> list[CollectionRow]:
    """The collections of each project, those that failed first."""
    rows = [
        CollectionRow(
            project=project.project,
            name=collection,
            badge=_SUCCESS if status.up else _failed("failed"),
            text=status.message,
            command=_grant_command(
                status.resource or project.project, status.missing_permission, project.account, evaluation
            ),
        )
        for project in evaluation.projects
        for collection, status in sorted(project.collected.status.items())
    ]
    return sorted(rows, key=lambda row: row.badge == _SUCCESS)


def _target_rows(evaluation: Evaluation) -> list[TargetRow]:
    searches = dict(evaluation.searches)
    polled = {status.project: status for status in evaluation.projects}
    rows = []
    for target in evaluation.config.targets:
        selector = _selector(target.instances)
        if target.impersonate:
            selector += f", read as {target.impersonate}"
        if isinstance(target, ProjectTarget):
            rows.append(_project_target_row(target, selector, polled.get(target.project), evaluation))
        else:
            rows.append(_search_row(target, selector, searches.get(target.query, SearchStatus()), evaluation))
    return rows


def _search_row(target: SearchingTarget, selector: str, status: SearchStatus, evaluation: Evaluation) -> TargetRow:
    match target:
        case FolderTarget():
            kind, name = "folder", target.folder
        case OrganizationTarget():
            kind, name = "organization", target.organization
        case _:
            kind, name = "search", target.search
    badge = {None: _PENDING, True: _SUCCESS, False: _failed("failed")}[status.up]
    text = status.message or ("no project found" if status.up and not status.projects else "")
    if status.up and status.method in _METHODS:
        text = "; ".join(filter(None, (_METHODS[status.method], text)))
    command = _grant_command(target.query, status.missing_permission, status.account, evaluation)
    return TargetRow(kind, name, selector, target.refresh, badge, text, command, len(status.projects))


def _project_target_row(
    target: ProjectTarget, selector: str, status: ProjectStatus | None, evaluation: Evaluation
) -> TargetRow:
    if status:
        badge, text = _project_result(status, evaluation)[0], ""
    else:
        sharded = evaluation.exporter.shard_total > 1
        badge, text = _PENDING, "not polled yet" + (", or a project of another shard" if sharded else "")
    return TargetRow("project", target.project, selector, None, badge, text, command="", projects=1)


def _grant_command(resource: str, permission: str | None, account: str | None, evaluation: Evaluation) -> str:
    """The command that grants a missing permission. It does not name the account of a key file: that is its content."""
    if permission is None:
        return ""
    credentials = evaluation.config.cloudsql.credentials
    member = UNKNOWN_MEMBER if credentials.file and not account else iam_member(credentials, account)
    return permission_named(permission).grant_command(resource, member)


def _selector(selector: InstanceSelector) -> str:
    """A selection of instances in words."""
    parts = [" or ".join(pattern.pattern for pattern in selector.include)]
    if selector.exclude:
        parts.append("except " + " or ".join(pattern.pattern for pattern in selector.exclude))
    parts += [f"{name}={value}" for name, value in selector.labels.items()]
    return "all" if parts == [".*"] else ", ".join(parts)


def _state(evaluation: Evaluation) -> str:
    """Where the state is, and whether it survives a restart."""
    path = evaluation.config.state.path
    if path is None:
        return "in memory only: counters and days are lost at a restart"
    if not evaluation.exporter.state_persistent:
        return f"cannot be saved in {path}: counters and days are lost at a restart; see the log"
    return f"saved in {path}"
