"""The Instance dashboard: the verdict on one instance, what it rests on, and how it came about."""

from collections.abc import Iterator
from typing import Any

from grafana_foundation_sdk.builders import stat, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Dashboard, Panel

from grafana.source import promql
from grafana.source.assembly import (
    INSTANCE,
    RUNBOOKS,
    Row,
    dashboard,
    failures,
    instance_variable,
    project_variable,
    team_variable,
    to_runbook,
)
from grafana.source.panels import (
    BLUE,
    COLOURED,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    RUNS,
    STATES,
    area,
    bars,
    instant,
    lines,
    listing,
    number,
    ranged,
    ranking,
    rows,
    timeline,
    worded,
    words,
)
from grafana.source.promql import AGE, EACH, FAILURES, PREFIX, UP, chosen, each, now, selector

HOUR = 3600
AUTOMATED, ON_DEMAND = 'backup_type="automated"', 'backup_type="on_demand"'
FINE = "5m"  # the shortest step: polls are this far apart
VARIABLES = (project_variable(several=False), team_variable(), instance_variable(several=False))


STATE_CODES = {"unprotected": 5, "at_risk": 4, "protected": 1, "exempt": 2, "unknown": 3}
RUN_CODES = {status: code for status, (code, _) in RUNS.items()}
STATE_WORDS = words({str(code): (name.replace("_", " "), STATES[name]) for name, code in STATE_CODES.items()})
RUN_WORDS = words({str(code): (status, colour) for status, (code, colour) in RUNS.items()})


def _tiles() -> Iterator[stat.Panel]:
    yield worded(
        "Verdict",
        "The state of the instance's backups: that of the worst finding.",
        instant(chosen("protection", "state", STATE_CODES)),
        STATE_WORDS,
    )
    yield number(
        "Would lose",
        "What a restore would lose: time since the moment up to which a restore loses nothing.",
        instant(AGE),
        "s",
    ).decimals(1)
    yield number(
        "Age vs. limit",
        "Age of the recovery point, of the `max_age` of its policy: beyond 100 % it is at risk.",
        instant(f"{AGE} / {each('policy_max_age_seconds')}"),
        "percentunit",
        ((None, GREEN), (1, ORANGE)),
    ).decimals(0)
    yield worded(
        "Last backup",
        "How the newest automated run that has ended came out. SKIPPED is no problem: there was no new data.",
        instant(
            chosen(
                "last_completed_status",
                "status",
                {k: v for k, v in RUN_CODES.items() if k in ("successful", "failed", "skipped", "overdue")},
                AUTOMATED,
            )
        ),
        RUN_WORDS,
    )
    yield number(
        "Failures in a row",
        "Automated runs that failed since the last that was successful or skipped.",
        instant(each("consecutive_failures", AUTOMATED)),
        "short",
        ((None, GREEN), (1, ORANGE), (3, RED)),
    )
    yield number(
        "Next due in",
        "Time until the next automated backup must have begun: the end of its window.",
        instant(f"{each('next_due_timestamp_seconds')} - time()"),
        "s",
    ).decimals(1)
    yield number(
        "Restorable",
        "Backups that can be restored now, automated and on demand.",
        instant(f"sum({each('retained', by='backup_type')})"),
        "short",
        ((None, RED), (1, GREEN)),
    )
    yield number(
        "Facts read",
        "Time since the project was last read: everything here is at least this old.",
        instant(promql.project("project_facts_age_seconds", replicas="min")),
        "s",
        ((None, GREEN), (2700, ORANGE), (HOUR, PURPLE)),
    ).decimals(0)


def _why() -> Iterator[Builder[Panel]]:
    findings = f"{now('finding', by='finding')} == 1"
    exempt = f"{now('exempt', by='reason')} == 1"
    yield area(
        listing(
            "Findings",
            "What is wrong, or why no automated backup is expected.",
            [
                rows(f'label_replace({findings}, "runbook", "$1", "finding", "(.+)")', "A"),
                rows(exempt, "B"),
            ],
            {"finding": "Finding", "reason": "Exempt because", "runbook": "Runbook"},
            {"Runbook": {"mappings": [words(RUNBOOKS)], "links": [to_runbook()]}},
        ).no_value("No finding, as long as there is a verdict above."),
        7,
        7,
    )
    yield area(
        ranking(
            "Failures by error code",
            "Backups that failed in the time range, also those that a retry made good.",
            [instant(f"sum by (code) ({FAILURES}) > 0", "{{code}}")],
            "short",
            ((None, GREEN), (0.5, RED)),
        )
        .decimals(0)
        .no_value("No failure, as long as there is a verdict above"),
        8,
        7,
    )
    firing = 'ALERTS{alertstate="firing", project=~"$project", instance_id=~"$instance"}'
    yield area(
        listing(
            "Alerts firing",
            "Alerts of the rules that ship with the exporter, about this instance. They begin ten minutes after the "
            "finding or later, and end up to a quarter of an hour after it.",
            [rows(f"max by (alertname, severity, team) ({firing})", "A")],
            {"alertname": "Alert", "severity": "Severity", "team": "Team"},
            {
                "Alert": {"links": [to_runbook(prefix="")]},
                "Team": {"custom.width": 100},
                "Severity": {
                    "custom.width": 90,
                    "mappings": [words({"critical": ("critical", RED), "warning": ("warning", ORANGE)})],
                    **COLOURED,
                },
            },
        ).no_value("No alert fires. That says nothing where the rules are not loaded."),
        9,
        7,
    )


def _configuration() -> Iterator[Builder[Panel]]:
    labels = promql.selector(PREFIX + "instance_labels", promql.INSTANCE)
    info = (
        "database_version",
        "edition",
        "instance_type",
        "availability_type",
        "region",
        "backup_location",
        "backup_tier",
    )
    yield area(
        listing(
            "What it is",
            "The instance, as the API tells of it; and the team that its user label names.",
            [rows(now("instance_info", by=", ".join(info)), "A"), rows(f"max by ({EACH}, label_team) ({labels})", "B")],
            {name: name.replace("_", " ").capitalize() for name in info} | {"label_team": "Team"},
            {},
        ).no_value("Nothing is known of it."),
        24,
        4,
    )
    told = {
        "enabled": "Automated backups",
        "window_start_seconds": "Window opens (UTC)",
        "retention_backups": "Keeps",
        "pitr_enabled": "Point-in-time recovery",
        "transaction_log_retention_seconds": "Keeps logs for",
        "policy_max_age_seconds": "At risk beyond",
        "policy_critical_age_seconds": "Unprotected beyond",
        "policy_max_duration_seconds": "May take",
    }
    refs = "ABCDEFGH"
    switch = {"mappings": [words({"0": ("off", RED), "1": ("on", GREEN)})], **COLOURED}
    span = {"unit": "s", "decimals": 2}
    yield area(
        listing(
            "Configuration and policy",
            "How backups of the instance are configured, and what its policy expects of them.",
            [rows(each(metric), ref) for metric, ref in zip(told, refs, strict=True)],
            {f"Value #{ref}": heading for ref, heading in zip(refs, told.values(), strict=True)},
            {
                "Automated backups": switch,
                "Point-in-time recovery": {**switch, "mappings": [words({"0": ("off", GREY), "1": ("on", GREEN)})]},
                "Window opens (UTC)": {"unit": "dthms"},
                "Keeps": {"unit": "suffix: backups"},
                "Keeps logs for": span,
                "At risk beyond": span,
                "Unprotected beyond": span,
                "May take": span,
            },
        ).no_value("Nothing is known of it."),
        24,
        4,
    )


def _history() -> Iterator[Builder[Panel]]:
    runs = (("automated", AUTOMATED), ("on demand", ON_DEMAND))
    lanes = [ranged(chosen("protection", "state", STATE_CODES), "verdict", "A", FINE)]
    yield area(
        timeline("Verdict over time", "The state of the instance's backups over time.", lanes, STATE_WORDS), 24, 4
    )
    lanes = [
        ranged(chosen("last_run_status", "status", RUN_CODES, matcher), name, ref, FINE)
        for (name, matcher), ref in zip(runs, "AB", strict=True)
    ]
    yield area(
        timeline("Newest run over time", "Status of the newest run of each type, over time.", lanes, RUN_WORDS),
        24,
        5,
    )
    limits = [
        ranged(each("policy_max_age_seconds"), "limit", "B", FINE),
        ranged(each("policy_critical_age_seconds"), "limit, critical", "C", FINE),
    ]
    yield area(
        lines(
            "Age of the recovery point against its limits",
            "What a restore would have lost at each moment. It falls with each backup, and with each run that is "
            "SKIPPED for want of new data.",
            [ranged(AGE, "age", "A", FINE), *limits],
            "s",
            {"age": BLUE, "limit": ORANGE, "limit, critical": RED},
        ),
        12,
        8,
    )
    daily = "[1d]"  # runs happen once a day: a shorter range would show none or one
    ended = f"increase({selector(PREFIX + 'runs_total', promql.INSTANCE)}{daily})"
    yield area(
        bars(
            lines(
                "Runs that ended, in the day before",
                "How the runs of the 24 hours up to each bar came out; one that failed and was retried counts as both.",
                [
                    ranged(
                        f"sum by (status) (max by (backup_type, status) ({ended})) and on () {UP}",
                        "{{status}}",
                        "A",
                        "1d",
                    )
                ],
                "short",
                {status: colour for status, (_, colour) in RUNS.items()},
            )
        ).decimals(0),
        12,
        8,
    )


def _usual(title: str, description: str, metric: str, *limits: Builder[Any]) -> timeseries.Panel:
    """A duration of the newest automated run, among what was usual in the week before."""
    selected = selector(PREFIX + metric, promql.INSTANCE, AUTOMATED)
    usual = [  # by the hour: enough for what changes once a day
        ranged(f"quantile_over_time({share}, max({selected})[7d:1h]) and on () {UP}", name, ref, FINE)
        for share, name, ref in ((0.9, "usual, at most", "B"), (0.1, "usual, at least", "C"))
    ]
    queries = [ranged(f"max({each(metric, AUTOMATED)})", "newest", "A", FINE), *usual, *limits]
    return area(
        lines(
            title,
            description,
            queries,
            "s",
            {"newest": BLUE, "usual, at most": GREY, "usual, at least": GREY, "limit": ORANGE},
        ),
        8,
        8,
    )


def _durations() -> Iterator[Builder[Panel]]:
    usual = "Dashed: what nine of ten were under, and over, in the week before."
    limit = ranged(each("policy_max_duration_seconds"), "limit", "D", FINE)
    yield _usual(
        "Duration",
        f"How long the newest successful automated backup took. {usual}",
        "last_success_duration_seconds",
        limit,
    )
    yield _usual(
        "Queue time",
        f"How long the newest automated run waited from enqueued to start. {usual}",
        "last_run_queue_seconds",
    )
    yield _usual(
        "Delay",
        f"How long after its window had opened the newest automated run started. {usual}",
        "last_run_delay_seconds",
    )


def _kept() -> Iterator[Builder[Panel]]:
    yield area(
        lines(
            "Backups kept against configured",
            "Backups that can be restored. Fewer than configured is usual while an instance is young, or idle.",
            [
                ranged(each("retained", by="backup_type"), "{{backup_type}}", "A", FINE),
                ranged(each("retention_backups"), "configured", "B", FINE),
            ],
            "short",
            {"automated": GREEN, "on_demand": BLUE, "configured": GREY},
        ).decimals(0),
        8,
        8,
    )
    oldest = f"time() - {each('oldest_retained_timestamp_seconds', by='backup_type')}"
    logs = f"{each('transaction_log_retention_seconds')}\nand on ({EACH}) {each('pitr_enabled')} == 1"
    yield area(
        lines(
            "Recovery window",
            "How far back a restore can go: to the oldest backup that is kept; and to any moment as far back as "
            "transaction logs are configured to reach, where point-in-time recovery is on.",
            [ranged(oldest, "oldest backup, {{backup_type}}", "A", FINE), ranged(logs, "configured logs", "B", FINE)],
            "s",
        ),
        8,
        8,
    )
    yield area(
        lines(
            "Size",
            "Chargeable size of all backups that are kept, and of the newest, where the API reports it.",
            [
                ranged(each("retained_size_bytes", by="backup_type"), "kept, {{backup_type}}", "A", FINE),
                ranged(each("last_success_size_bytes", by="backup_type"), "newest, {{backup_type}}", "B", FINE),
            ],
            "bytes",
        ),
        8,
        8,
    )


def build() -> Dashboard:
    """The whole dashboard."""
    return dashboard(
        INSTANCE,
        VARIABLES,
        [
            Row("", [area(tile, 3, 4) for tile in _tiles()]),
            Row("", [*_why(), *_configuration()]),
            Row("How it came about", list(_history())),
            Row("How long automated backups take", list(_durations())),
            Row("What is kept", list(_kept())),
        ],
        [failures()],
    )
