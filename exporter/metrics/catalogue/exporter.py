"""Metrics about the exporter itself: polls of projects, searches, its own condition, and API requests."""

from collections.abc import Iterator

from exporter.facts.exporter_info import ExporterInfo
from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectState, ProjectStatus, SearchStatus, project_counts
from exporter.metrics.metric import Age, DirectMetric, Metric, Sample, gauge


def _polls(status: ProjectStatus) -> Iterator[Sample]:
    if _can_be_polled(status):
        for result in PollResult:
            yield Sample((result,), float(status.polls[result]))


def _can_be_polled(status: ProjectStatus) -> bool:
    """Whether a poll has a result: not in a project that was merely found and in which the API is off."""
    return status.state is not ProjectState.API_DISABLED


def _collect_up(status: ProjectStatus) -> Iterator[Sample]:
    for collection, outcome in sorted(status.collected.status.items()):
        yield Sample((collection,), float(outcome.up))


PROJECT: tuple[Metric[ProjectStatus], ...] = (
    gauge(
        "cloudsql_backup_exporter_project_up",
        "1 if the last poll of the project succeeded.",
        lambda status: status.up if status.result and _can_be_polled(status) else None,
    ),
    gauge(
        "cloudsql_backup_exporter_project_last_success_timestamp_seconds",
        "When the project was last read.",
        lambda status: status.last_success,
    ),
    gauge(
        "cloudsql_backup_exporter_project_partial",
        "1 if the API reported that a region of the project is unreachable.",
        lambda status: bool(status.scan.unreachable_regions) if status.scan else None,
    ),
    gauge(
        "cloudsql_backup_exporter_poll_duration_seconds",
        "Duration of the last poll of the project.",
        lambda status: status.duration if status.result and _can_be_polled(status) else None,
    ),
    Metric("cloudsql_backup_exporter_polls_total", "Polls of the project by result.", ("result",), _polls, "counter"),
    Metric(
        "cloudsql_backup_exporter_collect_up",
        "1 if the last round of an optional collection (`collect` in the configuration) succeeded.",
        ("what",),
        _collect_up,
    ),
)


def _facts_age(status: ProjectStatus) -> Iterator[Sample]:
    if status.scan and not status.scan.empty:
        yield Sample((), Age(status.scan.read_at))


FACTS_AGE: Metric[ProjectStatus] = Metric(
    "cloudsql_backup_exporter_project_facts_age_seconds",
    "Time since the project was last read, the age of the facts about its instances. Absent for a project without any.",
    (),
    _facts_age,
)

SEARCH: tuple[Metric[tuple[str, SearchStatus]], ...] = (
    gauge(
        "cloudsql_backup_exporter_search_up",
        "1 if the last search for projects succeeded.",
        lambda search: search[1].up,
    ),
    gauge(
        "cloudsql_backup_exporter_search_projects",
        "Projects found by the search; after a failed one, those known from before.",
        lambda search: len(search[1].projects),
    ),
)


PROJECTS_BY_STATE: tuple[Metric[tuple[ProjectStatus, ...]], ...] = (
    Metric(
        "cloudsql_backup_exporter_projects",
        "Projects by state: read, without instances (empty), found by a search but without the API (api_disabled), or "
        "failing.",
        ("state",),
        lambda projects: [Sample((state,), float(count)) for state, count in project_counts(projects).items()],
    ),
)


def _build_info(exporter: ExporterInfo) -> Iterator[Sample]:
    yield Sample((exporter.version, exporter.revision, exporter.python_version), 1.0)


EXPORTER: tuple[Metric[ExporterInfo], ...] = (
    Metric(
        "cloudsql_backup_exporter_build_info",
        "Version of the exporter; always 1.",
        ("version", "revision", "python_version"),
        _build_info,
    ),
    Metric(
        "cloudsql_backup_exporter_shard_info",
        "Index of this shard and number of shards; always 1.",
        ("index", "total"),
        lambda exporter: [Sample((str(exporter.shard_index), str(exporter.shard_total)), 1.0)],
    ),
    gauge(
        "cloudsql_backup_exporter_stale_after_seconds",
        "Age of a project's facts beyond which the state of its instances is unknown.",
        lambda exporter: exporter.stale_after,
    ),
    gauge(
        "cloudsql_backup_exporter_api_requests_per_second_limit",
        "Configured limit on API requests per second.",
        lambda exporter: exporter.requests_per_minute / 60,
    ),
    gauge(
        "cloudsql_backup_exporter_state_persistent",
        "1 if facts and counters are stored in the state folder and survive a restart.",
        lambda exporter: exporter.state_persistent,
    ),
    gauge(
        "cloudsql_backup_exporter_config_last_reload_successful",
        "1 if the last loads of the configuration and of the web configuration file succeeded.",
        lambda exporter: exporter.reload_successful,
    ),
    gauge(
        "cloudsql_backup_exporter_config_last_reload_success_timestamp_seconds",
        "When the configuration was last loaded successfully.",
        lambda exporter: exporter.last_successful_reload,
    ),
)

API_REQUESTS = DirectMetric(
    "cloudsql_backup_exporter_api_requests_total",
    "API requests by method and HTTP status, or by result without an HTTP response.",
    ("method", "code"),
    "counter",
)
API_REQUEST_DURATION = DirectMetric(
    "cloudsql_backup_exporter_api_request_duration_seconds",
    "Duration of API requests.",
    ("method",),
    "histogram",
    (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60),
)
API_METHODS = (
    *("instances.list", "instances.getLatestRecoveryTime", "backupRuns.list", "backupRuns.get", "backups.list"),
    *("backupPlanAssociations.list", "backupPlans.list", "projects.search"),
    *("folders.search", "searchAllResources"),
)
API_RETRIES = DirectMetric(
    "cloudsql_backup_exporter_api_retries_total",
    "API requests retried after a transient error.",
    ("method",),
    "counter",
)
UNREADABLE_ITEMS = DirectMetric(
    "cloudsql_backup_exporter_unreadable_items_total",
    "API items with unreadable fields, counted on every poll that returns them.",
    ("kind",),
    "counter",
)
DIRECT_METRICS = (API_REQUESTS, API_REQUEST_DURATION, API_RETRIES, UNREADABLE_ITEMS)
