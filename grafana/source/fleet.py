"""The Fleet dashboard: backup status of all instances."""

from collections.abc import Sequence

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.source.attention import attention_table
from grafana.source.dashboard import (
    FLEET_UID,
    Metadata,
    Row,
    dashboard,
    failed_runs_annotation,
    instance_link,
    instance_variable,
    project_variable,
    team_variable,
)
from grafana.source.deleted_instances import deleted_instances_table
from grafana.source.panels import NO_RECORDED_DATA, bar_gauge, stat, table, timeseries
from grafana.source.promql import (
    AUTOMATED,
    BACKUP_EXPECTED,
    FAILED_RUNS,
    INSTANCE_LABELS,
    RECOVERY_POINT_AGE,
    for_teams,
    in_state,
    not_exempt,
    per_instance,
    per_project,
    recorded,
    top_ten_projects,
)
from grafana.source.queries import Query, distribution, instant_query, range_query, table_query
from grafana.source.style import BLUE, COLORED_TEXT, GREEN, ORANGE, PURPLE, RED, STATE_COLORS, words

HOUR = 3600
METADATA = Metadata(
    FLEET_UID,
    "Cloud SQL backups / Fleet",
    "Backup status of all Cloud SQL instances: which are not protected, since when, why, and who owns them.",
    "now-7d",
)
VARIABLES = (project_variable(multi=True), team_variable(), instance_variable(multi=True))
DAILY_STEP = "15m"  # minimum step of graphs over days: backups run once a day
RECORDED_FOR_ALL_TEAMS = "For all teams. Based on the recording rules shipped with the exporter."
PROTECTED_SHARE = "Protected instances as a share of the instances that should be backed up"
PROTECTED_SHARE_COLORS = ((None, RED), (0.9, ORANGE), (0.99, GREEN))
NO_FAILED_RUNS = "No failed runs, provided that the panels above show data"
RUN_DURATION = per_instance("cloudsql_backup_last_success_duration_seconds", AUTOMATED)
NEXT_DUE = (
    f"{per_instance('cloudsql_backup_next_due_timestamp_seconds')} "
    f"and on ({INSTANCE_LABELS}) {per_instance('cloudsql_backup_enabled')} == 1"
)
TIME_UNTIL_DUE = for_teams(f"({NEXT_DUE}) - time()")


def _number_in(state: str) -> Query:
    return instant_query(f"sum({for_teams(in_state(state))})")


def _state_stats() -> list[Builder[Panel]]:
    return [
        stat(
            "Unprotected",
            "Instances without a usable backup: none can be restored, the newest is critically old, or automated "
            "backups are disabled. Act immediately.",
            _number_in("unprotected"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, RED)),
        ),
        stat(
            "At risk",
            "Instances with a recent backup, and with a problem that may prevent the next one. Act today.",
            _number_in("at_risk"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, ORANGE)),
        ),
        stat(
            "Unknown",
            "Instances whose project could not be read for longer than `stale_after`. A missing backup would go "
            "unnoticed.",
            _number_in("unknown"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, PURPLE)),
        ),
        stat(
            "Protected",
            "Instances with a recent backup and no findings.",
            _number_in("protected"),
            width=3,
            height=4,
        ),
        stat(
            "Exempt",
            "Instances that need no automated backups, such as replicas, stopped instances and new instances.",
            _number_in("exempt"),
            width=3,
            height=4,
        ),
    ]


def _summary_stats() -> list[Builder[Panel]]:
    protected = f"sum({for_teams(in_state('protected'))})"
    project_up = per_project("cloudsql_backup_exporter_project_up", shards="min")
    facts_age = per_project("cloudsql_backup_exporter_project_facts_age_seconds", replicas="min")
    return [
        stat(
            "Protected share",
            f"{PROTECTED_SHARE}. Colours match the default objective of 99 %.",
            instant_query(f"{protected}\n/ count({for_teams(BACKUP_EXPECTED)})"),
            width=3,
            height=4,
            unit="percentunit",
            thresholds=PROTECTED_SHARE_COLORS,
        ),
        stat(
            "Failing projects",
            "Projects whose last poll failed. Their instances become unknown when the facts are older than "
            "`stale_after`.",
            instant_query(f"sum(1 - {project_up})"),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, RED)),
        ),
        stat(
            "Oldest facts",
            "Longest time since a project was read. All data on this dashboard is at most this old. Colours match the "
            "default `stale_after` of 1 hour.",
            instant_query(f"max({facts_age})"),
            width=3,
            height=4,
            unit="s",
            thresholds=((None, GREEN), (2700, ORANGE), (HOUR, PURPLE)),
            decimals=0,
        ),
    ]


def _over_time() -> list[Builder[Panel]]:
    states = 'project_state:cloudsql_backup_protection:sum{project=~"$project"'
    share = f'sum({states}, state="protected"}}) / sum({states}, state!="exempt"}})'
    monthly = 'project:cloudsql_backup_protected:ratio_30d{project=~"$project"}'
    weight = 'project:cloudsql_backup_expected:sum{project=~"$project"}'
    month = f"sum({monthly} * {weight}) / sum({weight} and {monthly})"
    return [
        timeseries(
            "Instances by state",
            f"Number of instances in each state. {RECORDED_FOR_ALL_TEAMS}",
            [
                range_query(recorded(f'sum({states}, state="{state}"}})'), words(state), ref, DAILY_STEP)
                for ref, state in zip("ABCDE", STATE_COLORS, strict=True)
            ],
            width=12,
            height=9,
            unit="short",
            colors={words(state): color for state, color in STATE_COLORS.items()},
            stacked=True,
            no_value=NO_RECORDED_DATA,
        ),
        timeseries(
            "Protected share and objective",
            f"{PROTECTED_SHARE}: current, and averaged over the 30-day SLO window, weighted by instances per project. "
            f"{RECORDED_FOR_ALL_TEAMS}",
            [
                range_query(recorded(share), "current", "A", DAILY_STEP),
                range_query(recorded(month), "30-day average", "B", DAILY_STEP),
                range_query(recorded("max(cloudsql_backup:objective:ratio)"), "objective", "C", DAILY_STEP),
            ],
            width=12,
            height=9,
            unit="percentunit",
            colors={"current": GREEN, "30-day average": BLUE, "objective": RED},
            dashed=["objective"],
            min_value=None,
            soft_min=0.9,
            max_value=1,
            no_value=NO_RECORDED_DATA,
        ),
    ]


def _by_project() -> list[Builder[Panel]]:
    protected = f"sum by (project) ({for_teams(in_state('protected'))})"
    share = f"{protected}\n/ count by (project) ({for_teams(BACKUP_EXPECTED)})"
    description = "Failed backup runs in the time range, including those followed by a successful retry. Highest 10."
    return [
        bar_gauge(
            "Protected share by project, lowest 10",
            f"{PROTECTED_SHARE}.",
            [instant_query(f"bottomk(10, {share})", "{{project}}")],
            width=8,
            height=9,
            unit="percentunit",
            thresholds=PROTECTED_SHARE_COLORS,
            max_value=1,
        ),
        bar_gauge(
            "Failed runs by error code",
            description,
            [instant_query(f"topk(10, sum by (code) ({for_teams(FAILED_RUNS)}) > 0)", "{{code}}")],
            width=8,
            height=9,
            thresholds=((None, GREEN), (0.5, RED)),
            decimals=0,
            no_value=NO_FAILED_RUNS,
        ),
        bar_gauge(
            "Failed runs by project",
            description,
            [instant_query(f"topk(10, sum by (project) ({for_teams(FAILED_RUNS)}) > 0)", "{{project}}")],
            width=8,
            height=9,
            thresholds=((None, GREEN), (0.5, RED)),
            decimals=0,
            no_value=NO_FAILED_RUNS,
        ),
    ]


def _distribution(title: str, description: str, queries: Sequence[Query]) -> Builder[Panel]:
    return bar_gauge(title, description, queries, width=5, height=12, thresholds=((None, BLUE),), fill_height=True)


def _top_ten(title: str, description: str, expression: str, heading: str, options: dict[str, object]) -> Builder[Panel]:
    """Return a table of ten instances, each with a link to the Instance dashboard."""
    return table(
        title,
        description,
        [table_query(expression)],
        width=7,
        height=12,
        columns={"project": "Project", "instance_id": "Instance", "Value": heading},
        overrides={
            "Instance": {"links": [instance_link("Show instance")]},
            heading: {**options, "custom.width": 110},
        },
        no_value="No instances",
    )


def _ages_and_durations() -> list[Builder[Panel]]:
    age, duration = for_teams(not_exempt(RECOVERY_POINT_AGE)), for_teams(RUN_DURATION)
    max_age = per_instance("cloudsql_backup_policy_max_age_seconds")
    relative_age = for_teams(not_exempt(f"{RECOVERY_POINT_AGE} / {max_age}"))
    steps = [{"value": None, "color": GREEN}, {"value": 1, "color": ORANGE}]
    thresholds = {"thresholds": {"mode": "absolute", "steps": steps}, **COLORED_TEXT}
    return [
        _distribution(
            "Recovery point age",
            "Number of instances by age of the recovery point, which is the data loss on restore.",
            distribution(age, (6, 12, 24, 30, 54), "h", HOUR),
        ),
        _top_ten(
            "Oldest recovery points",
            "Age of the recovery point relative to `max_age` of the policy, highest 10. Instances that have never been "
            "backed up have no recovery point.",
            f"topk(10, {relative_age})",
            "Age / max",
            {"unit": "percentunit", "decimals": 0, **thresholds},
        ),
        _distribution(
            "Backup duration",
            "Number of instances by duration of the newest successful automated run.",
            distribution(duration, (5, 15, 60, 180, 360), "min", 60),
        ),
        _top_ten(
            "Longest backups",
            "Duration of the newest successful automated run, highest 10.",
            f"topk(10, {duration})",
            "Duration",
            {"unit": "s", "decimals": 1},
        ),
    ]


def _upcoming_windows() -> list[Builder[Panel]]:
    size = 'project:cloudsql_backup_retained_size_bytes:sum{project=~"$project"}'
    return [
        _distribution(
            "Time until backup is due",
            "Number of instances by time until their next automated backup must have started, at the end of the 4-hour "
            "backup window. Only instances with automated backups enabled.",
            distribution(TIME_UNTIL_DUE, (1, 4, 8, 12, 16), "h", HOUR),
        ),
        _top_ten(
            "Next backups due",
            "Time until the next automated backup must have started, lowest 10.",
            f"bottomk(10, {TIME_UNTIL_DUE})",
            "Due in",
            {"unit": "s", "decimals": 1},
        ),
        timeseries(
            "Retained size, 10 largest projects",
            "Chargeable size of the restorable backups, as a lower bound: backups of a type count only while the API "
            f"reports the size of each of them. {RECORDED_FOR_ALL_TEAMS}",
            [range_query(recorded(top_ten_projects(size, size)), "{{project}}", interval=DAILY_STEP)],
            width=12,
            height=12,
            unit="bytes",
            stacked=True,
            no_value=NO_RECORDED_DATA,
        ),
    ]


def build() -> Dashboard:
    """Return the dashboard."""
    rows = [
        Row("", [*_state_stats(), *_summary_stats(), attention_table()]),
        Row("Over time", _over_time()),
        Row("By project", _by_project()),
        Row("Ages and durations", _ages_and_durations()),
        Row("Upcoming windows", _upcoming_windows()),
        Row("Deleted instances", [deleted_instances_table()]),
    ]
    return dashboard(METADATA, VARIABLES, rows, [failed_runs_annotation()])
