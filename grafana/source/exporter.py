"""The Exporter dashboard: facts, API requests and process of the exporter."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.source.dashboard import (
    EXPORTER_UID,
    Metadata,
    Row,
    dashboard,
    hidden,
    instance_variable,
    project_variable,
    team_variable,
)
from grafana.source.panels import stat, table, timeseries
from grafana.source.promql import (
    EXPORTER_UP,
    JOB,
    PROJECT,
    SHARD,
    last_seen,
    per_project,
    rate,
    selector,
    top_ten_projects,
    while_up,
)
from grafana.source.queries import instant_query, range_query, table_query
from grafana.source.style import (
    COLORED_TEXT,
    GREEN,
    ORANGE,
    POLL_RESULT_COLORS,
    PROJECT_STATE_COLORS,
    PURPLE,
    RED,
    value_mappings,
)

METADATA = Metadata(
    EXPORTER_UID,
    "Cloud SQL backups / Exporter",
    "Health of the exporter: age of facts, polls, API requests and resource usage.",
    "now-6h",
)
VARIABLES = (project_variable(multi=True), hidden(team_variable()), hidden(instance_variable(multi=True)))
PROJECT_UP = per_project("cloudsql_backup_exporter_project_up", shards="min")
PARTIAL = per_project("cloudsql_backup_exporter_project_partial")
FACTS_AGE = per_project("cloudsql_backup_exporter_project_facts_age_seconds", replicas="min")
POLL_DURATION = per_project("cloudsql_backup_exporter_poll_duration_seconds")
STALE_AFTER = f"min({last_seen(selector('cloudsql_backup_exporter_stale_after_seconds', JOB))})"
API_REQUESTS = rate("cloudsql_backup_exporter_api_requests_total", JOB)


def _project_stats() -> list[Builder[Panel]]:
    return [
        stat(
            "Exporters up",
            "Scrape targets that are up. If there are none, backups are not monitored.",
            instant_query(f"count({EXPORTER_UP})"),
            width=3,
            height=4,
            thresholds=((None, RED), (1, GREEN)),
            no_value="none",
        ),
        stat(
            "Projects read",
            "Projects whose last poll succeeded.",
            instant_query(f"sum({PROJECT_UP})"),
            width=3,
            height=4,
        ),
        stat(
            "Failing projects",
            "Projects whose last poll failed. Their instances keep the verdicts of the last facts, and become unknown "
            "when these are older than `stale_after`.",
            instant_query(f"sum(1 - {PROJECT_UP})"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, RED)),
        ),
        stat(
            "Partial projects",
            "Partially read projects: the API reported an unreachable region.",
            instant_query(f"sum({PARTIAL})"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, ORANGE)),
        ),
        stat(
            "Oldest facts",
            "Longest time since a project was read, relative to `stale_after`.",
            instant_query(f"max({FACTS_AGE}) / {STALE_AFTER}"),
            width=3,
            height=4,
            unit="percentunit",
            thresholds=((None, GREEN), (0.75, ORANGE), (1, PURPLE)),
            decimals=0,
        ),
    ]


def _exporter_stats() -> list[Builder[Panel]]:
    search_up = last_seen(selector("cloudsql_backup_exporter_search_up", JOB))
    reloaded = last_seen(selector("cloudsql_backup_exporter_config_last_reload_successful", JOB))
    persistent = last_seen(selector("cloudsql_backup_exporter_state_persistent", JOB))
    return [
        stat(
            "Failing searches",
            "Project searches that failed last time. New projects are not discovered.",
            instant_query(f"sum(1 - max by (query) ({search_up}))"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, RED)),
            no_value="none",
        ),
        stat(
            "Failed reloads",
            "Exporters whose last configuration reload failed. They keep using the previous configuration.",
            instant_query(f"sum(1 - {reloaded})"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, ORANGE)),
        ),
        stat(
            "In-memory state",
            "Exporters whose state is not persistent: facts and counters are in memory only, and a restart loses them.",
            instant_query(f"sum(1 - {persistent})"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, ORANGE)),
        ),
    ]


def _projects() -> Builder[Panel]:
    polls = selector("cloudsql_backup_exporter_polls_total", PROJECT, 'result!="success"')
    failed = while_up(f"increase({polls}[$__range])")
    yes_is_good = value_mappings({"0": ("no", RED), "1": ("yes", GREEN)})
    no_is_good = value_mappings({"0": ("no", GREEN), "1": ("yes", ORANGE)})
    return table(
        "Projects, failing first",
        "Result and duration of the last poll of each project, age of its facts, and failed polls in the time range.",
        [
            table_query(FACTS_AGE, "A"),
            table_query(PROJECT_UP, "B"),
            table_query(PARTIAL, "C"),
            table_query(POLL_DURATION, "D"),
            table_query(f"max by (project) (sum without (result) ({failed}))", "E"),
        ],
        width=12,
        height=8,
        columns={
            "project": "Project",
            "Value #B": "Read",
            "Value #A": "Age of facts",
            "Value #C": "Partial",
            "Value #D": "Poll duration",
            "Value #E": "Failed polls",
        },
        overrides={
            "Age of facts": {"unit": "s", "decimals": 0, "custom.width": 105},
            "Read": {"mappings": [yes_is_good], **COLORED_TEXT, "custom.width": 70},
            "Partial": {"mappings": [no_is_good], **COLORED_TEXT, "custom.width": 80},
            "Poll duration": {"unit": "s", "decimals": 2, "custom.width": 120},
            "Failed polls": {"unit": "short", "decimals": 0, "custom.width": 105},
        },
        sort_by="Read",
        descending=False,
        no_value="No projects",
    )


def _exporters() -> Builder[Panel]:
    started = while_up(selector("process_start_time_seconds", JOB))
    memory = while_up(selector("process_resident_memory_bytes", JOB))
    samples = while_up(selector("scrape_samples_scraped", JOB))
    duration = while_up(selector("scrape_duration_seconds", JOB))
    return table(
        "Exporters",
        "Version, shard, start time, memory usage, number of exposed series and scrape duration of each target.",
        [
            table_query(f"max by (instance, version) ({EXPORTER_UP})", "A"),
            table_query(
                f"max by (instance, index, total) ({selector('cloudsql_backup_exporter_shard_info', JOB)})", "B"
            ),
            table_query(f"max by (instance) ({started} * 1000)", "C"),
            table_query(f"max by (instance) ({memory})", "D"),
            table_query(f"max by (instance) ({samples})", "E"),
            table_query(f"max by (instance) ({duration})", "F"),
        ],
        width=12,
        height=8,
        columns={
            "instance": "Target",
            "version": "Version",
            "index": "Shard",
            "total": "Shards",
            "Value #C": "Started",
            "Value #D": "Memory",
            "Value #E": "Series",
            "Value #F": "Scrape",
        },
        overrides={
            "Started": {"unit": "dateTimeAsIso", "custom.width": 160},
            "Version": {"custom.width": 70},
            "Memory": {"unit": "bytes", "decimals": 0, "custom.width": 80},
            "Series": {"unit": "short", "custom.width": 70},
            "Scrape": {"unit": "s", "decimals": 1, "custom.width": 80},
            "Shard": {"custom.width": 60},
            "Shards": {"custom.width": 65},
        },
        no_value="No exporter is up.",
    )


def _facts() -> list[Builder[Panel]]:
    ages = selector("cloudsql_backup_exporter_project_facts_age_seconds", PROJECT)
    durations = selector("cloudsql_backup_exporter_poll_duration_seconds", PROJECT)
    polls = rate("cloudsql_backup_exporter_polls_total", PROJECT)
    by_state = last_seen(selector("cloudsql_backup_exporter_projects", JOB))
    of_shards = f"max by (state, index) ({by_state} * on (job, instance) group_left (index) {SHARD})"
    return [
        timeseries(
            "Age of facts, 10 oldest projects",
            "Time since each project was read. Above `stale_after` its instances are unknown.",
            [
                range_query(top_ten_projects(FACTS_AGE, ages), "{{project}}", "A"),
                range_query(STALE_AFTER, "stale_after", "B"),
            ],
            width=6,
            height=8,
            unit="s",
            colors={"stale_after": RED},
            dashed=["stale_after"],
        ),
        timeseries(
            "Projects by state",
            "Projects that are read, have no instances (`empty`), were found without the API (`api_disabled`), or "
            "fail. Those without instances or API are polled every `poll.empty_interval`.",
            [range_query(f"sum by (state) ({of_shards})", "{{state}}")],
            width=6,
            height=8,
            unit="short",
            colors=PROJECT_STATE_COLORS,
            stacked=True,
            decimals=0,
        ),
        timeseries(
            "Polls by result",
            "Polls of projects by result.",
            [range_query(f"sum by (result) ({polls}) > 0", "{{result}}")],
            width=6,
            height=8,
            unit="cps",
            colors={result.value: color for result, color in POLL_RESULT_COLORS.items()},
            bars=True,
        ),
        timeseries(
            "Poll duration, 10 slowest projects",
            "Duration of the last poll of each project, including waits for the rate limit.",
            [range_query(top_ten_projects(POLL_DURATION, durations), "{{project}}")],
            width=6,
            height=8,
            unit="s",
        ),
    ]


def _requests() -> list[Builder[Panel]]:
    limit = last_seen(selector("cloudsql_backup_exporter_api_requests_per_second_limit", JOB))
    buckets = f"sum by (le) ({rate('cloudsql_backup_exporter_api_request_duration_seconds_bucket', JOB)})"
    return [
        timeseries(
            "Requests and rate limit",
            "API requests of each exporter, and the limit set by `requests_per_minute`.",
            [
                range_query(f"sum by (instance) ({API_REQUESTS})", "{{instance}}", "A"),
                range_query(f"min({limit})", "rate limit", "B"),
            ],
            width=8,
            height=8,
            unit="reqps",
            colors={"rate limit": RED},
            dashed=["rate limit"],
        ),
        timeseries(
            "Requests by status code",
            "API requests by HTTP status code, or by error if there was no response.",
            [range_query(f"sum by (code) ({API_REQUESTS}) > 0", "{{code}}")],
            width=8,
            height=8,
            unit="reqps",
            colors={"200": GREEN},
            bars=True,
        ),
        timeseries(
            "Request duration",
            "50th, 95th and 99th percentile of API request duration.",
            [
                range_query(f"histogram_quantile(0.5, {buckets})", "p50", "A"),
                range_query(f"histogram_quantile(0.95, {buckets})", "p95", "B"),
                range_query(f"histogram_quantile(0.99, {buckets})", "p99", "C"),
            ],
            width=8,
            height=8,
            unit="s",
            colors={"p50": GREEN, "p95": ORANGE, "p99": RED},
        ),
    ]


def _request_errors() -> list[Builder[Panel]]:
    failed = rate("cloudsql_backup_exporter_api_requests_total", JOB, 'code!="200"')
    retries = rate("cloudsql_backup_exporter_api_retries_total", JOB)
    unreadable = rate("cloudsql_backup_exporter_unreadable_items_total", JOB)
    return [
        timeseries(
            "Share of failed requests by method",
            "API requests with a status code other than 200, as a share of all requests.",
            [range_query(f"sum by (method) ({failed}) / sum by (method) ({API_REQUESTS}) > 0", "{{method}}")],
            width=8,
            height=8,
            unit="percentunit",
            no_value="No failed requests, provided that other panels show data",
        ),
        timeseries(
            "Retries",
            "API requests retried after a transient error.",
            [range_query(f"sum by (method) ({retries})", "{{method}}")],
            width=8,
            height=8,
            unit="reqps",
        ),
        timeseries(
            "Unreadable items",
            "API items with unreadable fields, counted on every poll that returns them.",
            [range_query(f"sum by (kind) ({unreadable})", "{{kind}}")],
            width=8,
            height=8,
            unit="cps",
        ),
    ]


def _process() -> list[Builder[Panel]]:
    cpu = while_up(f"rate({selector('process_cpu_seconds_total', JOB)}[$__rate_interval])")
    return [
        timeseries(
            "Up",
            "1 if the last scrape of the target succeeded, 0 if it failed. Shown for 1 day after the last success.",
            [range_query(f"up{{{JOB}}} and on (job, instance) last_over_time({EXPORTER_UP}[1d])", "{{instance}}")],
            width=6,
            height=8,
            unit="short",
            max_value=1,
            decimals=0,
        ),
        timeseries(
            "Scrape duration",
            "Duration of each scrape, as measured by Prometheus.",
            [range_query(while_up(selector("scrape_duration_seconds", JOB)), "{{instance}}")],
            width=6,
            height=8,
            unit="s",
        ),
        timeseries(
            "Memory",
            "Resident memory of each exporter.",
            [range_query(while_up(selector("process_resident_memory_bytes", JOB)), "{{instance}}")],
            width=6,
            height=8,
            unit="bytes",
        ),
        timeseries(
            "CPU",
            "CPU cores used by each exporter.",
            [range_query(cpu, "{{instance}}")],
            width=6,
            height=8,
            unit="percentunit",
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    rows = [
        Row("", [*_project_stats(), *_exporter_stats(), _projects(), _exporters()]),
        Row("Facts and polls", _facts()),
        Row("API requests", [*_requests(), *_request_errors()]),
        Row("Process", _process()),
    ]
    return dashboard(METADATA, VARIABLES, rows)
