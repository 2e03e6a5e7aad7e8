"""The Exporter dashboard: does it see what it should, and at what price."""

from collections.abc import Iterator

from grafana_foundation_sdk.builders import stat
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.source.assembly import EXPORTER as IDENTITY
from grafana.source.assembly import Row, dashboard, instance_variable, project_variable, team_variable, unseen
from grafana.source.panels import (
    COLOURED,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    area,
    bars,
    instant,
    lines,
    listing,
    number,
    ranged,
    rows,
    sort_by,
    words,
)
from grafana.source.promql import EXPORTER, JOB, PROJECT, UP, living, project, rate, seen, selector, ten_projects

NARROW = {"custom.width": 105}
POLL = "poll_duration_seconds"
READ = project("project_up", shards="min")
FACTS_AGE = project("project_facts_age_seconds", replicas="min")
RESULTS = {
    "success": GREEN,
    "forbidden": RED,
    "unauthenticated": "dark-red",
    "api_disabled": "light-red",
    "not_found": "semi-dark-orange",
    "quota": "yellow",
    "timeout": ORANGE,
    "unreachable": PURPLE,
    "server_error": "dark-purple",
    "bad_response": "light-purple",
}
VARIABLES = (project_variable(several=True), unseen(team_variable()), unseen(instance_variable(several=True)))


def _own(metric: str, scope: str = JOB) -> str:
    """What was last seen of a series that the exporter exposes of itself."""
    return seen(selector(EXPORTER + metric, scope))


def _tiles() -> Iterator[stat.Panel]:
    none_is_good = ((None, GREEN), (1, RED))
    yield number(
        "Exporters up",
        "Scrape targets that answer. Where none does, nobody watches the backups.",
        instant(f"count({UP})"),
        steps=((None, RED), (1, GREEN)),
    ).no_value("none")
    yield number("Projects read", "Projects whose last poll succeeded.", instant(f"sum({READ})"))
    yield number(
        "Not read",
        "Projects whose last poll failed. Their instances keep the verdicts of the last facts, and are unknown once "
        "these are older than `stale_after`.",
        instant(f"sum(1 - {READ})"),
        steps=none_is_good,
    )
    yield number(
        "Read in part",
        "Projects of which the API said that a region could not be reached.",
        instant(f"sum({project('project_partial')})"),
        steps=((None, GREEN), (1, ORANGE)),
    )
    yield number(
        "Oldest facts",
        "Time since the project that was read longest ago was read, of what `stale_after` allows.",
        instant(f"max({FACTS_AGE}) / min({_own('stale_after_seconds')})"),
        "percentunit",
        ((None, GREEN), (0.75, ORANGE), (1, PURPLE)),
    ).decimals(0)
    yield number(
        "Searches failing",
        "Searches for projects that failed last time: new projects are not watched.",
        instant(f"sum(1 - max by (query) ({_own('search_up')}))"),
        steps=none_is_good,
    ).no_value("none known")
    yield number(
        "Old settings",
        "Exporters that could not read their configuration when they last tried, and go on by the one before.",
        instant(f"sum(1 - {_own('config_last_reload_successful')})"),
        steps=((None, GREEN), (1, ORANGE)),
    )
    yield number(
        "State in memory",
        "Exporters that keep facts and counters in memory only: a restart loses them.",
        instant(f"sum(1 - {_own('state_persistent')})"),
        steps=((None, GREEN), (1, ORANGE)),
    )


def _who() -> Iterator[Builder[Panel]]:
    polls = selector(EXPORTER + "polls_total", PROJECT, 'result!="success"')
    failed = living(f"increase({polls}[$__range])")
    switch = {"mappings": [words({"0": ("no", RED), "1": ("yes", GREEN)})], **COLOURED}
    yield area(
        listing(
            "Projects, those not read first",
            "Whether each project is read, how old its facts are, and how long its last poll took.",
            [
                rows(FACTS_AGE, "A"),
                rows(READ, "B"),
                rows(project("project_partial"), "C"),
                rows(project(POLL), "D"),
                rows(f"max by (project) (sum without (result) ({failed}))", "E"),
            ],
            {
                "project": "Project",
                "Value #B": "Read",
                "Value #A": "Age of facts",
                "Value #C": "In part",
                "Value #D": "Last poll took",
                "Value #E": "Failed polls",
            },
            {
                "Age of facts": {"unit": "s", "decimals": 0, **NARROW},
                "Read": {**switch, "custom.width": 70},
                "In part": {
                    "mappings": [words({"0": ("no", GREEN), "1": ("yes", ORANGE)})],
                    **COLOURED,
                    "custom.width": 80,
                },
                "Last poll took": {"unit": "s", "decimals": 2, "custom.width": 120},
                "Failed polls": {"unit": "short", "decimals": 0, **NARROW},
            },
        )
        .no_value("No project is known.")
        .sort_by([sort_by("Read", descending=False)]),
        12,
        8,
    )
    by = "instance"
    yield area(
        listing(
            "Exporters",
            "Each scrape target: its version, its shard, since when it runs, what it uses and how much it exposes.",
            [
                rows(f"max by ({by}, version) ({selector(EXPORTER + 'build_info', JOB)})", "A"),
                rows(f"max by ({by}, index, total) ({selector(EXPORTER + 'shard_info', JOB)})", "B"),
                rows(f"max by ({by}) ({living(f'process_start_time_seconds{{{JOB}}}')} * 1000)", "C"),
                rows(f"max by ({by}) ({living(f'process_resident_memory_bytes{{{JOB}}}')})", "D"),
                rows(f"max by ({by}) ({living(f'scrape_samples_scraped{{{JOB}}}')})", "E"),
                rows(f"max by ({by}) ({living(f'scrape_duration_seconds{{{JOB}}}')})", "F"),
            ],
            {
                "instance": "Target",
                "version": "Version",
                "index": "Shard",
                "total": "Of",
                "Value #C": "Runs since",
                "Value #D": "Memory",
                "Value #E": "Series",
                "Value #F": "Scrape took",
            },
            {
                "Runs since": {"unit": "dateTimeAsIso", "custom.width": 160},
                "Version": {"custom.width": 70},
                "Memory": {"unit": "bytes", "decimals": 0, "custom.width": 80},
                "Series": {"unit": "short", "custom.width": 70},
                "Scrape took": {"unit": "s", "decimals": 1, "custom.width": 100},
                "Shard": {"custom.width": 60},
                "Of": {"custom.width": 45},
            },
        ).no_value("No exporter is up."),
        12,
        8,
    )


def _facts() -> Iterator[Builder[Panel]]:
    ages, durations = (selector(EXPORTER + name, PROJECT) for name in ("project_facts_age_seconds", POLL))
    yield area(
        lines(
            "Age of the facts, oldest ten",
            "Time since each project was read. Beyond the limit, `stale_after`, its instances are unknown.",
            [
                ranged(
                    ten_projects(FACTS_AGE, ages),
                    "{{project}}",
                ),
                ranged(f"min({_own('stale_after_seconds')})", "limit", "B"),
            ],
            "s",
            {"limit": RED},
        ),
        8,
        8,
    )
    yield area(
        bars(
            lines(
                "Polls by result",
                "Polls of projects, by how they ended.",
                [ranged(f"sum by (result) ({rate('polls_total', PROJECT)}) > 0", "{{result}}")],
                "cps",
                RESULTS,
            )
        ),
        8,
        8,
    )
    yield area(
        lines(
            "Duration of polls, longest ten",
            "How long the last poll of each project took, waiting for the pace included.",
            [ranged(ten_projects(project(POLL), durations), "{{project}}")],
            "s",
        ),
        8,
        8,
    )


def _api() -> Iterator[Builder[Panel]]:
    requests = rate("api_requests_total", JOB)
    yield area(
        lines(
            "Requests against the pace",
            "Requests to the API by each exporter, and the pace that `requests_per_minute` holds it below.",
            [
                ranged(f"sum by (instance) ({requests})", "{{instance}}", "A"),
                ranged(f"min({_own('api_requests_per_second_limit')})", "limit", "B"),
            ],
            "reqps",
            {"limit": RED},
        ),
        8,
        8,
    )
    yield area(
        bars(
            lines(
                "Requests by answer",
                "Requests to the API, by HTTP status; where there was no answer, by what went wrong.",
                [ranged(f"sum by (code) ({requests}) > 0", "{{code}}")],
                "reqps",
                {"200": GREEN},
            )
        ),
        8,
        8,
    )
    buckets = f"sum by (le) ({rate('api_request_duration_seconds_bucket', JOB)})"
    yield area(
        lines(
            "Latency of requests",
            "How long requests to the API took: half, and 95 and 99 of a hundred, took at most so long.",
            [
                ranged(f"histogram_quantile({share}, {buckets})", f"{share:.0%}", ref)
                for share, ref in ((0.5, "A"), (0.95, "B"), (0.99, "C"))
            ],
            "s",
            {"50%": GREEN, "95%": ORANGE, "99%": RED},
        ),
        8,
        8,
    )
    failed = rate("api_requests_total", JOB, 'code!="200"')
    yield area(
        lines(
            "Share of requests that failed, by method",
            "Requests to the API that were not answered with 200, of all.",
            [
                ranged(
                    f"sum by (method) ({failed}) / sum by (method) ({requests}) > 0",
                    "{{method}}",
                )
            ],
            "percentunit",
        ).no_value("None failed, as far as is known"),
        8,
        8,
    )
    yield area(
        lines(
            "Retries",
            "Requests that were made again after trouble of a passing kind.",
            [ranged(f"sum by (method) ({rate('api_retries_total', JOB)})", "{{method}}")],
            "reqps",
        ),
        8,
        8,
    )
    yield area(
        lines(
            "Items that could not be read",
            "Items of the API's answers that could not be read in whole; counted at every poll that meets them.",
            [ranged(f"sum by (kind) ({rate('unreadable_items_total', JOB)})", "{{kind}}")],
            "cps",
        ),
        8,
        8,
    )


def _machine() -> Iterator[Builder[Panel]]:
    yield area(
        lines(
            "Up",
            "1 while a scrape of the target succeeds, 0 while it fails, for a day after the last that did.",
            [ranged(f"up{{{JOB}}} and on (job, instance) last_over_time({UP}[1d])", "{{instance}}")],
            "short",
        )
        .max(1)
        .decimals(0),
        6,
        8,
    )
    yield area(
        lines(
            "Scrape duration",
            "How long Prometheus took to scrape each target.",
            [ranged(living(f"scrape_duration_seconds{{{JOB}}}"), "{{instance}}")],
            "s",
        ),
        6,
        8,
    )
    yield area(
        lines(
            "Memory",
            "Resident memory of each exporter.",
            [ranged(living(f"process_resident_memory_bytes{{{JOB}}}"), "{{instance}}")],
            "bytes",
        ),
        6,
        8,
    )
    yield area(
        lines(
            "CPU",
            "Cores that each exporter keeps busy.",
            [ranged(living(f"rate(process_cpu_seconds_total{{{JOB}}}[$__rate_interval])"), "{{instance}}")],
            "percentunit",
        ),
        6,
        8,
    )


def build() -> Dashboard:
    """The whole dashboard."""
    return dashboard(
        IDENTITY,
        VARIABLES,
        [
            Row("", [area(tile, 3, 4) for tile in _tiles()]),
            Row("", list(_who())),
            Row("Facts", list(_facts())),
            Row("Requests to the API", list(_api())),
            Row("The process", list(_machine())),
        ],
    )
