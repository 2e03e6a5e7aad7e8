"""What the exporter says of itself: polls of projects, searches, its own state, and its requests to the API."""

from collections.abc import Iterator

from exporter.metric import PREFIX, Meter, Metric, Sample, gauge
from exporter.model import PollResult
from exporter.snapshot import ProjectStatus, SearchStatus
from exporter.view import ExporterFacts

EXPORTER_PREFIX = PREFIX + "exporter_"


def _polls(status: ProjectStatus) -> Iterator[Sample]:
    for result in PollResult:
        yield Sample((result,), float(status.polls[result]))


PROJECT: tuple[Metric[ProjectStatus], ...] = (
    gauge(
        "exporter_project_up",
        "1 if the last poll of the project succeeded.",
        lambda status: None if status.result is None else status.up,
    ),
    gauge(
        "exporter_project_last_success_timestamp_seconds",
        "When the project was last read; the facts about its instances are this old.",
        lambda status: status.last_success,
    ),
    gauge(
        "exporter_project_partial",
        "1 if the API said that a region of the project could not be reached.",
        lambda status: bool(status.scan.unreachable_regions) if status.scan else None,
    ),
    gauge(
        "exporter_poll_duration_seconds",
        "How long the last poll of the project took.",
        lambda status: None if status.result is None else status.duration,
    ),
    Metric(EXPORTER_PREFIX + "polls_total", "Polls of the project, by how they ended.", ("result",), _polls, "counter"),
)


def _facts_age(status: ProjectStatus) -> Iterator[Sample]:
    if status.last_success:
        yield Sample((), status.last_success)


FACTS_AGE: Metric[ProjectStatus] = Metric(
    EXPORTER_PREFIX + "project_facts_age_seconds",
    "Time since the project was last read: how old the facts about its instances are.",
    (),
    _facts_age,
)

SEARCH: tuple[Metric[tuple[str, SearchStatus]], ...] = (
    gauge("exporter_search_up", "1 if the last search for projects succeeded.", lambda search: search[1].up),
    gauge(
        "exporter_search_projects",
        "Projects that the search found last.",
        lambda search: len(search[1].projects),
    ),
)


def _build_info(facts: ExporterFacts) -> Iterator[Sample]:
    yield Sample((facts.version, facts.revision, facts.python_version), 1.0)


EXPORTER: tuple[Metric[ExporterFacts], ...] = (
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
        lambda facts: [Sample((str(facts.shard.index), str(facts.shard.total)), 1.0)],
    ),
    gauge(
        "exporter_stale_after_seconds",
        "Age of a project's facts beyond which the verdicts on its instances are unknown.",
        lambda facts: facts.stale_after,
    ),
    gauge(
        "exporter_api_requests_per_second_limit",
        "Requests to the API that this process makes at most: the pace it keeps below the quota.",
        lambda facts: facts.requests_per_minute / 60,
    ),
    gauge(
        "exporter_state_persistent",
        "1 if facts and counters are kept in the state folder and survive a restart.",
        lambda facts: facts.state_persistent,
    ),
    gauge(
        "exporter_config_last_reload_successful",
        "1 if the configuration was last read without a problem.",
        lambda facts: facts.reload_successful,
    ),
    gauge(
        "exporter_config_last_reload_success_timestamp_seconds",
        "When the configuration was last read without a problem.",
        lambda facts: facts.reload_succeeded_at,
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
