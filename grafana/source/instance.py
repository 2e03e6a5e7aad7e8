"""The Instance dashboard: verdict, findings, configuration and history of one instance."""

from collections.abc import Mapping

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from exporter.facts.model import RunStatus
from exporter.verdict.rules import Protection
from grafana.source.dashboard import (
    INSTANCE_UID,
    Metadata,
    Row,
    dashboard,
    failed_runs_annotation,
    instance_variable,
    project_variable,
    team_variable,
)
from grafana.source.panels import bar_gauge, stat, state_stat, state_timeline, table, timeseries
from grafana.source.plans import plan_panels
from grafana.source.promql import (
    AUTOMATED,
    EXPORTER_UP,
    FAILED_RUNS,
    INSTANCE,
    INSTANCE_LABELS,
    ON_DEMAND,
    RECOVERY_POINT_AGE,
    current,
    encoded,
    per_instance,
    per_project,
    selector,
)
from grafana.source.queries import Query, instant_query, range_query, table_query
from grafana.source.runbooks import RUNBOOK_MAPPINGS, runbook_link
from grafana.source.settings import settings_tables
from grafana.source.style import (
    BLUE,
    COLORED_TEXT,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    RUN_COLORS,
    STATE_COLORS,
    value_mappings,
    words,
)

HOUR = 3600
METADATA = Metadata(
    INSTANCE_UID,
    "Cloud SQL backups / Instance",
    "Backup status of one Cloud SQL instance: verdict, findings, configuration and history.",
    "now-7d",
)
VARIABLES = (project_variable(multi=False), team_variable(), instance_variable(multi=False))
STEP = "5m"  # minimum step of graphs: the default poll interval

# Where replicas differ, the first in this order wins. Of runs, completed ones come before those in progress: a replica
# that still sees a run in progress has older facts.
STATE_CODES: Mapping[str, int] = {
    Protection.UNPROTECTED: 5,
    Protection.AT_RISK: 4,
    Protection.PROTECTED: 1,
    Protection.EXEMPT: 2,
    Protection.UNKNOWN: 3,
}
RUN_CODES = {
    RunStatus.FAILED.lower(): 5,
    RunStatus.OVERDUE.lower(): 6,
    RunStatus.SUCCESSFUL.lower(): 3,
    RunStatus.SKIPPED.lower(): 4,
    RunStatus.RUNNING.lower(): 2,
    RunStatus.ENQUEUED.lower(): 1,
    RunStatus.UNKNOWN.lower(): 7,
}
COMPLETED_RUN_CODES = {status.lower(): RUN_CODES[status.lower()] for status in RUN_COLORS if status.completed}
RUN_STATUS_COLORS = {status.lower(): color for status, color in RUN_COLORS.items()}
STATE_MAPPINGS = value_mappings({str(code): (words(state), STATE_COLORS[state]) for state, code in STATE_CODES.items()})
RUN_MAPPINGS = value_mappings({str(code): (status, RUN_STATUS_COLORS[status]) for status, code in RUN_CODES.items()})


def _verdict_stats() -> list[Builder[Panel]]:
    max_age = per_instance("cloudsql_backup_policy_max_age_seconds")
    return [
        state_stat(
            "Verdict",
            "State of the instance: that of its worst finding.",
            instant_query(encoded("cloudsql_backup_protection", "state", STATE_CODES)),
            STATE_MAPPINGS,
            width=3,
            height=4,
        ),
        stat(
            "Loss on restore",
            "Time since the recovery point. A restore loses the data written since then.",
            instant_query(RECOVERY_POINT_AGE),
            width=3,
            height=4,
            unit="s",
            decimals=1,
        ),
        stat(
            "Age / max age",
            "Age of the recovery point relative to `max_age` of the policy. Above 100 % the instance is at risk.",
            instant_query(f"{RECOVERY_POINT_AGE} / {max_age}"),
            width=3,
            height=4,
            unit="percentunit",
            thresholds=((None, GREEN), (1, ORANGE)),
            decimals=0,
        ),
        state_stat(
            "Last run",
            "Status of the newest completed automated run. SKIPPED is not a problem: there was no new data.",
            instant_query(encoded("cloudsql_backup_last_completed_status", "status", COMPLETED_RUN_CODES, AUTOMATED)),
            RUN_MAPPINGS,
            width=3,
            height=4,
        ),
    ]


def _backup_stats() -> list[Builder[Panel]]:
    retained = per_instance("cloudsql_backup_retained", by="backup_type")
    return [
        stat(
            "Failures in a row",
            "Automated runs that failed since the last successful or skipped one.",
            instant_query(per_instance("cloudsql_backup_consecutive_failures", AUTOMATED)),
            width=3,
            height=4,
            thresholds=((None, GREEN), (1, ORANGE), (3, RED)),
        ),
        stat(
            "Next due in",
            "Time until the next automated backup must have started, at the end of the backup window.",
            instant_query(f"{per_instance('cloudsql_backup_next_due_timestamp_seconds')} - time()"),
            width=3,
            height=4,
            unit="s",
            decimals=1,
        ),
        stat(
            "Retained backups",
            "Automated and on-demand backups that can be restored now.",
            instant_query(f"sum({retained})"),
            width=3,
            height=4,
            thresholds=((None, RED), (1, GREEN)),
        ),
        stat(
            "Age of facts",
            "Time since the project was read. All data on this dashboard is at least this old.",
            instant_query(per_project("cloudsql_backup_exporter_project_facts_age_seconds", replicas="min")),
            width=3,
            height=4,
            unit="s",
            thresholds=((None, GREEN), (2700, ORANGE), (HOUR, PURPLE)),
            decimals=0,
        ),
    ]


def _findings_and_alerts() -> list[Builder[Panel]]:
    findings = f"{current('cloudsql_backup_finding', by='finding')} == 1"
    exempt = f"{current('cloudsql_backup_exempt', by='reason')} == 1"
    firing = 'ALERTS{alertstate="firing", project=~"$project", instance_id=~"$instance"}'
    severities = value_mappings({"critical": ("critical", RED), "warning": ("warning", ORANGE)})
    return [
        table(
            "Findings",
            "Findings of the instance, or the reason why it is exempt.",
            [
                table_query(f'label_replace({findings}, "runbook", "$1", "finding", "(.+)")', "A"),
                table_query(exempt, "B"),
            ],
            width=7,
            height=7,
            columns={"finding": "Finding", "reason": "Exemption", "runbook": "Runbook"},
            overrides={"Runbook": {"mappings": [RUNBOOK_MAPPINGS], "links": [runbook_link()]}},
            no_value="No findings, provided that there is a verdict above.",
        ),
        bar_gauge(
            "Failed runs by error code",
            "Failed backup runs in the time range, including those followed by a successful retry.",
            [instant_query(f"sum by (code) ({FAILED_RUNS}) > 0", "{{code}}")],
            width=8,
            height=7,
            thresholds=((None, GREEN), (0.5, RED)),
            decimals=0,
            no_value="No failed runs, provided that there is a verdict above",
        ),
        table(
            "Firing alerts",
            "Alerts about this instance from the rules shipped with the exporter. They start firing 10 minutes or more "
            "after a finding appears, and stop up to 15 minutes after it disappears.",
            [table_query(f"max by (alertname, severity, team) ({firing})")],
            width=9,
            height=7,
            columns={"alertname": "Alert", "severity": "Severity", "team": "Team"},
            overrides={
                "Alert": {"links": [runbook_link(prefix="")]},
                "Team": {"custom.width": 100},
                "Severity": {"custom.width": 90, "mappings": [severities], **COLORED_TEXT},
            },
            no_value="No firing alerts, provided that the alerting rules are loaded.",
        ),
    ]


def _timelines() -> list[Builder[Panel]]:
    verdict = encoded("cloudsql_backup_protection", "state", STATE_CODES)
    automated, on_demand = (
        encoded("cloudsql_backup_last_run_status", "status", RUN_CODES, matcher) for matcher in (AUTOMATED, ON_DEMAND)
    )
    return [
        state_timeline(
            "Verdict over time",
            "State of the instance over time.",
            [range_query(verdict, "verdict", "A", STEP)],
            STATE_MAPPINGS,
            width=24,
            height=4,
        ),
        state_timeline(
            "Newest run over time",
            "Status of the newest run of each type over time.",
            [range_query(automated, "automated", "A", STEP), range_query(on_demand, "on demand", "B", STEP)],
            RUN_MAPPINGS,
            width=24,
            height=5,
        ),
    ]


def _age_and_runs() -> list[Builder[Panel]]:
    # Backups run once a day: a shorter range than a day would show none or one.
    completed = f"increase({selector('cloudsql_backup_runs_total', INSTANCE)}[1d])"
    by_status = f"sum by (status) (max by (backup_type, status) ({completed})) and on () {EXPORTER_UP}"
    return [
        timeseries(
            "Recovery point age",
            "Data loss of a restore at each time, and the limits of the policy. The age drops with each successful "
            "run, and with each run SKIPPED because there was no new data.",
            [
                range_query(RECOVERY_POINT_AGE, "age", "A", STEP),
                range_query(per_instance("cloudsql_backup_policy_max_age_seconds"), "max age", "B", STEP),
                range_query(per_instance("cloudsql_backup_policy_critical_age_seconds"), "critical age", "C", STEP),
            ],
            width=12,
            height=8,
            unit="s",
            colors={"age": BLUE, "max age": ORANGE, "critical age": RED},
            dashed=["max age", "critical age"],
        ),
        timeseries(
            "Completed runs per day",
            "Runs completed in the 24 hours before each bar, by status. A failed run that was retried counts as both.",
            [range_query(by_status, "{{status}}", "A", "1d")],
            width=12,
            height=8,
            unit="short",
            colors=RUN_STATUS_COLORS,
            bars=True,
            decimals=0,
        ),
    ]


def _with_usual_range(metric: str) -> list[Query]:
    """Return queries of a duration of the newest automated run, and of its percentiles over the previous 7 days."""
    selected = selector(metric, INSTANCE, AUTOMATED)
    hourly = f"max({selected})[7d:1h]"  # fine enough for what changes once a day
    return [
        range_query(f"max({per_instance(metric, AUTOMATED)})", "newest", "A", STEP),
        range_query(f"quantile_over_time(0.9, {hourly}) and on () {EXPORTER_UP}", "p90 (7 days)", "B", STEP),
        range_query(f"quantile_over_time(0.1, {hourly}) and on () {EXPORTER_UP}", "p10 (7 days)", "C", STEP),
    ]


def _durations() -> list[Builder[Panel]]:
    percentiles = "Dashed: 90th and 10th percentile over the previous 7 days."
    newest = per_instance("cloudsql_backup_last_success_duration_seconds", AUTOMATED)
    usual = per_instance("cloudsql_backup_usual_duration_seconds", AUTOMATED)
    limit = per_instance("cloudsql_backup_policy_max_duration_seconds")
    colors = {"newest": BLUE, "p90 (7 days)": GREY, "p10 (7 days)": GREY}
    dashed = ["p90 (7 days)", "p10 (7 days)"]
    return [
        timeseries(
            "Duration",
            "Duration of the newest successful automated run. Dashed: the median of up to 14 successes before it, and "
            "the limit of the policy.",
            [
                range_query(newest, "newest", "A", STEP),
                range_query(usual, "usual", "B", STEP),
                range_query(limit, "max duration", "C", STEP),
            ],
            width=8,
            height=8,
            unit="s",
            colors={"newest": BLUE, "usual": GREY, "max duration": ORANGE},
            dashed=["usual", "max duration"],
        ),
        timeseries(
            "Queue time",
            f"Time from enqueueing to start of the newest automated run. {percentiles}",
            _with_usual_range("cloudsql_backup_last_run_queue_seconds"),
            width=8,
            height=8,
            unit="s",
            colors=colors,
            dashed=dashed,
        ),
        timeseries(
            "Start delay",
            f"Time from the start of the backup window to the start of the newest automated run. {percentiles}",
            _with_usual_range("cloudsql_backup_last_run_delay_seconds"),
            width=8,
            height=8,
            unit="s",
            colors=colors,
            dashed=dashed,
        ),
    ]


def _retained_backups() -> Builder[Panel]:
    retained = per_instance("cloudsql_backup_retained", by="backup_type")
    return timeseries(
        "Retained backups by type",
        "Backups that can be restored, and the configured number. Fewer are normal for a new or idle instance.",
        [
            range_query(retained, "{{backup_type}}", "A", STEP),
            range_query(per_instance("cloudsql_backup_retention_backups"), "configured", "B", STEP),
        ],
        width=8,
        height=8,
        unit="short",
        colors={"automated": GREEN, "on_demand": BLUE, "configured": GREY},
        dashed=["configured"],
        decimals=0,
    )


def _recovery_window() -> Builder[Panel]:
    oldest = f"time() - {per_instance('cloudsql_backup_oldest_retained_timestamp_seconds', by='backup_type')}"
    logs = (
        f"{per_instance('cloudsql_backup_transaction_log_retention_seconds')}\n"
        f"and on ({INSTANCE_LABELS}) {per_instance('cloudsql_backup_pitr_enabled')} == 1"
    )
    return timeseries(
        "Recovery window",
        "How far back a restore can go: to the oldest retained backup and, with point-in-time recovery, to any time "
        "within the configured retention of transaction logs.",
        [
            range_query(oldest, "oldest backup, {{backup_type}}", "A", STEP),
            range_query(logs, "log retention", "B", STEP),
        ],
        width=8,
        height=8,
        unit="s",
        dashed=["log retention"],
    )


def _backup_size() -> Builder[Panel]:
    retained = per_instance("cloudsql_backup_retained_size_bytes", by="backup_type")
    newest = per_instance("cloudsql_backup_last_success_size_bytes", by="backup_type")
    usual = per_instance("cloudsql_backup_usual_size_bytes", AUTOMATED)
    return timeseries(
        "Backup size",
        "Chargeable size of all retained backups, while the API reports it for each of them, and of the newest one. "
        "Dashed: the median of up to 14 automated backups before the newest one.",
        [
            range_query(retained, "retained, {{backup_type}}", "A", STEP),
            range_query(newest, "newest, {{backup_type}}", "B", STEP),
            range_query(usual, "usual, automated", "C", STEP),
        ],
        width=8,
        height=8,
        unit="bytes",
        dashed=["usual, automated"],
    )


def build() -> Dashboard:
    """Return the dashboard."""
    rows = [
        Row("", [*_verdict_stats(), *_backup_stats(), *_findings_and_alerts(), *settings_tables()]),
        Row("History", [*_timelines(), *_age_and_runs()]),
        Row("Duration of automated backups", _durations()),
        Row("Backup plan (enhanced tier)", plan_panels(STEP)),
        Row("Retention", [_retained_backups(), _recovery_window(), _backup_size()]),
    ]
    return dashboard(METADATA, VARIABLES, rows, [failed_runs_annotation()])
