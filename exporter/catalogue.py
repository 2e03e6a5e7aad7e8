"""Every exported metric, declared once.

`/metrics`, `docs/metrics.md` and the checks of rules and dashboards all derive from these declarations.
A value that is not known yields no sample: never 0, never -1.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

from exporter.assess import Assessment, Protection
from exporter.config.schema import label_name
from exporter.history import TypeHistory
from exporter.metric import Meter, Metric, Number, Sample, Section, number
from exporter.model import BackupRun, BackupType, PollResult, RunStatus, span
from exporter.scan import Record
from exporter.snapshot import ProjectStatus, SearchStatus
from exporter.tally import Durations
from exporter.view import View

S = TypeVar("S")
E = TypeVar("E", bound=StrEnum)

PREFIX = "cloudsql_backup_"
EXPORTER_PREFIX = PREFIX + "exporter_"
RUN_STATUSES = tuple(status for status in RunStatus if not status.deleted)
ENDED_STATUSES = tuple(status for status in RunStatus if status.ended)


def _gauge(name: str, meaning: str, read: Callable[[S], Number]) -> Metric[S]:
    """A gauge with no labels of its own."""

    def samples(subject: S) -> Iterator[Sample]:
        value = number(read(subject))
        if value is not None:
            yield Sample((), value)

    return Metric(PREFIX + name, meaning, (), samples)


def _by_type(name: str, meaning: str, read: Callable[[TypeHistory, datetime], Number]) -> Metric[Assessment]:
    """A gauge with one sample for each backup type that the instance has runs of."""

    def samples(verdict: Assessment) -> Iterator[Sample]:
        for backup_type, history in verdict.history.by_type.items():
            value = number(read(history, verdict.now))
            if value is not None:
                yield Sample((backup_type.lower(),), value)

    return Metric(PREFIX + name, meaning, ("backup_type",), samples)


def _of_run(
    run: Callable[[TypeHistory], BackupRun | None], read: Callable[[BackupRun], Number]
) -> Callable[[TypeHistory, datetime], Number]:
    def value(history: TypeHistory, _now: datetime) -> Number:
        found = run(history)
        return read(found) if found else None

    return value


def _one_of(values: Iterable[E], held: E | None) -> Iterator[tuple[str, float]]:
    """1 for the value that holds, 0 for the others."""
    for value in values:
        yield value.lower(), float(value is held)


def _status(
    name: str, meaning: str, statuses: tuple[RunStatus, ...], run: Callable[[TypeHistory], BackupRun | None]
) -> Metric[Assessment]:
    def samples(verdict: Assessment) -> Iterator[Sample]:
        for backup_type, history in verdict.history.by_type.items():
            if found := run(history):
                for status, value in _one_of(statuses, found.status):
                    yield Sample((backup_type.lower(), status), value)

    return Metric(PREFIX + name, meaning, ("backup_type", "status"), samples)


def _newest(history: TypeHistory) -> BackupRun | None:
    return history.newest


def _ended(history: TypeHistory) -> BackupRun | None:
    return history.newest_ended


def _success(history: TypeHistory) -> BackupRun | None:
    return history.newest_success


def _protection(verdict: Assessment) -> Iterator[Sample]:
    for state, value in _one_of(Protection, verdict.state):
        yield Sample((state,), value)


def _findings(verdict: Assessment) -> Iterator[Sample]:
    for finding in verdict.findings:
        yield Sample((finding,), 1.0)


def _exempt(verdict: Assessment) -> Iterator[Sample]:
    if verdict.exemption:
        yield Sample((verdict.exemption,), 1.0)


def _last_error(verdict: Assessment) -> Iterator[Sample]:
    for backup_type, history in verdict.history.by_type.items():
        ended = history.newest_ended
        if ended and ended.error:
            yield Sample((backup_type.lower(), ended.error.label), 1.0)


VERDICT = (
    Metric(
        PREFIX + "protection",
        "State of the instance's backup protection: 1 for the state that holds, 0 for the others.",
        ("state",),
        _protection,
    ),
    Metric(PREFIX + "finding", "1 while the problem holds, else absent.", ("finding",), _findings),
    Metric(PREFIX + "exempt", "1 while no automated backup is expected, with the reason.", ("reason",), _exempt),
)

RUNS: tuple[Metric[Assessment], ...] = (
    _status("last_run_status", "Status of the newest run: 1 for its status.", RUN_STATUSES, _newest),
    _status(
        "last_completed_status", "Status of the newest run that has ended: 1 for its status.", ENDED_STATUSES, _ended
    ),
    _by_type(
        "last_run_window_start_timestamp_seconds",
        "When the window of the newest run opened.",
        _of_run(_newest, lambda run: run.window_start),
    ),
    _by_type(
        "last_run_enqueued_timestamp_seconds",
        "When the newest run was enqueued.",
        _of_run(_newest, lambda run: run.enqueued),
    ),
    _by_type(
        "last_run_start_timestamp_seconds", "When the newest run started.", _of_run(_newest, lambda run: run.start)
    ),
    _by_type("last_run_end_timestamp_seconds", "When the newest run ended.", _of_run(_newest, lambda run: run.end)),
    _by_type(
        "last_success_timestamp_seconds",
        "When the newest successful run ended.",
        _of_run(_success, lambda run: run.end),
    ),
    _by_type(
        "last_success_age_seconds",
        "Time since the newest successful run ended.",
        lambda history, now: (
            now - history.newest_success.end if history.newest_success and history.newest_success.end else None
        ),
    ),
    _by_type(
        "last_success_duration_seconds",
        "How long the newest successful run took.",
        _of_run(_success, lambda run: run.duration),
    ),
    _by_type(
        "last_success_size_bytes",
        "Chargeable size of the newest successful run, where reported.",
        _of_run(_success, lambda run: run.size_bytes),
    ),
    _by_type(
        "last_completed_duration_seconds",
        "How long the newest run that has ended took.",
        _of_run(_ended, lambda run: run.duration),
    ),
    _by_type(
        "last_run_queue_seconds",
        "How long the newest run waited from enqueued to start.",
        _of_run(_newest, lambda run: span(run.enqueued, run.start)),
    ),
    _by_type(
        "last_run_delay_seconds",
        "How long after its window opened the newest run started.",
        _of_run(_newest, lambda run: span(run.window_start, run.start)),
    ),
    Metric(
        PREFIX + "last_completed_error",
        "1 while the newest run that has ended is failed, with its error code, else absent.",
        ("backup_type", "code"),
        _last_error,
    ),
    _by_type(
        "consecutive_failures",
        "Failed runs since the last successful or skipped one.",
        lambda history, _now: history.consecutive_failures,
    ),
    _by_type("in_progress", "1 while a run is enqueued or running.", lambda history, _now: bool(history.in_progress)),
    _by_type("retained", "Backups that can be restored now.", lambda history, _now: len(history.restorable)),
    _by_type(
        "retained_size_bytes",
        "Chargeable size of the backups that can be restored now, where reported.",
        lambda history, _now: history.restorable_bytes,
    ),
    _by_type(
        "oldest_retained_timestamp_seconds",
        "When the oldest backup that can be restored now ended.",
        lambda history, _now: history.restorable[-1].end if history.restorable else None,
    ),
    _gauge(
        "recovery_point_timestamp_seconds",
        "The moment up to which a restore loses nothing: start of the newest successful run, carried forward by "
        "later skipped runs.",
        lambda verdict: verdict.history.recovery_point,
    ),
    _gauge(
        "recovery_point_age_seconds",
        "Time since the recovery point: what a restore would lose.",
        lambda verdict: verdict.now - verdict.history.recovery_point if verdict.history.recovery_point else None,
    ),
    _gauge(
        "next_due_timestamp_seconds",
        "When the next automated run must have begun: the end of its window.",
        lambda verdict: verdict.next_due,
    ),
)


def _info(verdict: Assessment) -> Iterator[Sample]:
    instance, backups = verdict.instance, verdict.instance.backups
    values = (
        str(instance.id),
        instance.region or "",
        instance.database_version or "",
        instance.edition,
        instance.type,
        instance.availability,
        backups.tier,
        backups.location or "",
    )
    yield Sample(values, 1.0)


INFO_LABELS = (
    "database_id",
    "region",
    "database_version",
    "edition",
    "instance_type",
    "availability_type",
    "backup_tier",
    "backup_location",
)

INSTANCE: tuple[Metric[Assessment], ...] = (
    Metric(PREFIX + "instance_info", "Facts about the instance, as labels; always 1.", INFO_LABELS, _info),
    _gauge("enabled", "1 if automated backups are switched on.", lambda verdict: verdict.instance.backups.enabled),
    _gauge(
        "retention_backups",
        "Automated backups the instance is configured to keep.",
        lambda verdict: verdict.instance.backups.retained_backups,
    ),
    _gauge(
        "transaction_log_retention_seconds",
        "How long the instance is configured to keep transaction logs.",
        lambda verdict: verdict.instance.backups.transaction_log_retention,
    ),
    _gauge(
        "window_start_seconds",
        "When the daily backup window opens, in seconds after 00:00 UTC.",
        lambda verdict: verdict.instance.backups.window_start,
    ),
    _gauge(
        "pitr_enabled",
        "1 if point-in-time recovery (PostgreSQL, SQL Server) or the binary log (MySQL) is switched on.",
        lambda verdict: verdict.instance.backups.pitr_enabled,
    ),
    _gauge(
        "policy_max_age_seconds",
        "Age of the recovery point beyond which the instance is at risk.",
        lambda verdict: verdict.policy.max_age,
    ),
    _gauge(
        "policy_critical_age_seconds",
        "Age of the recovery point beyond which the instance is unprotected.",
        lambda verdict: verdict.policy.critical_age,
    ),
    _gauge(
        "policy_max_duration_seconds",
        "Duration beyond which a run is slow, or stuck while it lasts.",
        lambda verdict: verdict.policy.max_duration,
    ),
)


def _instance_labels(names: tuple[str, ...]) -> Metric[Assessment]:
    def samples(verdict: Assessment) -> Iterator[Sample]:
        if names:
            yield Sample(tuple(verdict.instance.user_labels.get(name, "") for name in names), 1.0)

    meaning = "User labels of the instance, those named in collect.user_labels; always 1."
    return Metric(PREFIX + "instance_labels", meaning, tuple(label_name(name) for name in names), samples)


def _counted_types(record: Record) -> list[BackupType]:
    """Automated from the first sight on, where there can be backups; other types once there was a run of them."""
    automated = {BackupType.AUTOMATED} if record.instance.can_have_backups else set()
    return sorted({*automated, *record.account.ended})


def _totals(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        ended = record.account.ended.get(backup_type, {})
        for status in ENDED_STATUSES:
            yield Sample((backup_type.lower(), status.lower()), float(ended.get(status, 0)))


def _errors(record: Record) -> Iterator[Sample]:
    for backup_type, codes in record.account.errors.items():
        for code, count in codes.items():
            yield Sample((backup_type.lower(), code), float(count))


def _durations(record: Record) -> Iterator[Sample]:
    for backup_type in _counted_types(record):
        told = record.account.durations.get(backup_type, Durations())
        yield Sample((backup_type.lower(),), float(told.count), "_count")
        yield Sample((backup_type.lower(),), told.seconds, "_sum")


COUNTERS: tuple[Metric[Record], ...] = (
    Metric(
        PREFIX + "runs_total",
        "Runs that came to an end since the instance was first seen, each counted once per outcome.",
        ("backup_type", "status"),
        _totals,
        "counter",
    ),
    Metric(
        PREFIX + "errors_total",
        "Failed runs since the instance was first seen, by error code.",
        ("backup_type", "code"),
        _errors,
        "counter",
    ),
    Metric(
        PREFIX + "run_duration_seconds",
        "How long successful runs took that ended since the instance was first seen.",
        ("backup_type",),
        _durations,
        "summary",
    ),
)


def _polls(status: ProjectStatus) -> Iterator[Sample]:
    for result in PollResult:
        yield Sample((result,), float(status.polls[result]))


PROJECT: tuple[Metric[ProjectStatus], ...] = (
    _gauge(
        "exporter_project_up",
        "1 if the last poll of the project succeeded.",
        lambda status: None if status.result is None else status.up,
    ),
    _gauge(
        "exporter_project_last_success_timestamp_seconds",
        "When the project was last read; the facts about its instances are this old.",
        lambda status: status.last_success,
    ),
    _gauge(
        "exporter_project_partial",
        "1 if the API said that a region of the project could not be reached.",
        lambda status: bool(status.scan.unreachable_regions) if status.scan else None,
    ),
    _gauge(
        "exporter_poll_duration_seconds",
        "How long the last poll of the project took.",
        lambda status: None if status.result is None else status.duration,
    ),
    Metric(EXPORTER_PREFIX + "polls_total", "Polls of the project, by how they ended.", ("result",), _polls, "counter"),
)

SEARCH: tuple[Metric[tuple[str, SearchStatus]], ...] = (
    _gauge("exporter_search_up", "1 if the last search for projects succeeded.", lambda search: search[1].up),
    _gauge(
        "exporter_search_projects",
        "Projects that the search found last.",
        lambda search: len(search[1].projects),
    ),
)


def _build_info(view: View) -> Iterator[Sample]:
    facts = view.exporter
    yield Sample((facts.version, facts.revision, facts.python_version), 1.0)


EXPORTER: tuple[Metric[View], ...] = (
    Metric(
        EXPORTER_PREFIX + "build_info",
        "Version of the exporter; always 1.",
        ("version", "revision", "python_version"),
        _build_info,
    ),
    Metric(
        EXPORTER_PREFIX + "shard_info",
        "Which shard of how many this process is; always 1.",
        ("index", "total"),
        lambda _view: [Sample(("0", "1"), 1.0)],
    ),
    _gauge(
        "exporter_state_persistent",
        "1 if facts and counters are kept in the state folder and survive a restart.",
        lambda view: view.exporter.state_persistent,
    ),
    _gauge(
        "exporter_config_last_reload_successful",
        "1 if the configuration was last read without a problem.",
        lambda view: view.exporter.reload_successful,
    ),
    _gauge(
        "exporter_config_last_reload_success_timestamp_seconds",
        "When the configuration was last read without a problem.",
        lambda view: view.exporter.reload_succeeded_at,
    ),
)

API_REQUESTS = Meter(
    EXPORTER_PREFIX + "api_requests_total",
    "Requests to the API, by method and HTTP status; where there was no HTTP answer, by what went wrong.",
    ("method", "code"),
    "counter",
)
API_REQUEST_DURATION = Meter(
    EXPORTER_PREFIX + "api_request_duration_seconds",
    "How long requests to the API took.",
    ("method",),
    "histogram",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
API_METHODS = ("instances.list", "backupRuns.list", "backupRuns.get", "projects.search")
API_RETRIES = Meter(
    EXPORTER_PREFIX + "api_retries_total",
    "Requests to the API that were made again after trouble of a passing kind.",
    ("method",),
    "counter",
)
UNREADABLE_ITEMS = Meter(
    EXPORTER_PREFIX + "unreadable_items_total",
    "Items of the API's answers that could not be read in whole; counted at every poll that meets them.",
    ("kind",),
    "counter",
)
METERS = (API_REQUESTS, API_REQUEST_DURATION, API_RETRIES, UNREADABLE_ITEMS)


def sections(user_labels: tuple[str, ...] = ()) -> tuple[Section[Any], ...]:
    """All metrics read from a view, given the user labels to export."""

    def instance(title: str, *metrics: Metric[Assessment]) -> Section[Assessment]:
        def identity(verdict: Assessment) -> tuple[str, ...]:
            return verdict.instance.id.project, verdict.instance.id.name

        return Section(title, ("project_id", "instance_id"), lambda view: view.assessments, identity, metrics)

    return (
        instance("Verdict", *VERDICT),
        instance("Runs", *RUNS),
        Section(
            "Counters",
            ("project_id", "instance_id"),
            lambda view: view.records,
            lambda record: (record.instance.id.project, record.instance.id.name),
            COUNTERS,
        ),
        instance("Instance", *INSTANCE, _instance_labels(user_labels)),
        Section("Projects", ("project_id",), lambda view: view.projects, lambda status: (status.project,), PROJECT),
        Section("Searches", ("query",), lambda view: view.searches, lambda search: (search[0],), SEARCH),
        Section("Exporter", (), lambda view: (view,), lambda _view: (), EXPORTER),
    )
