"""The table of instances and projects that need attention: state, findings, error and team, worst first."""

from grafana_foundation_sdk.builders import table as sdk_table

from exporter.facts.model import RunStatus
from exporter.verdict.rules import RULES, Finding, Protection
from grafana.source.dashboard import exporter_link, instance_link
from grafana.source.panels import joined_values, table
from grafana.source.promql import (
    AUTOMATED,
    INSTANCE_LABELS,
    RECOVERY_POINT_AGE,
    TEAM_INSTANCES,
    current,
    for_teams,
    in_state,
    per_instance,
    per_project,
)
from grafana.source.queries import Query, table_query
from grafana.source.runbooks import FACTS_TOO_OLD, PROJECT_FAILING, RUNBOOK_MAPPINGS, runbook_link
from grafana.source.style import COLORED_TEXT, ORANGE, PURPLE, RED, RUN_COLORS, range_mappings, value_mappings

# A restore loses what was written since the recovery point, or since the creation if there never was a backup.
CREATED = per_instance("cloudsql_backup_instance_created_timestamp_seconds")
LOSS_SINCE = f"{per_instance('cloudsql_backup_recovery_point_timestamp_seconds')}\nor {CREATED}"
LOSS = f"{RECOVERY_POINT_AGE}\nor time() - {CREATED}"
AFFECTED = f"{in_state('unprotected', 'at_risk')} == 1"
ONLY_AFFECTED = f"and on ({INSTANCE_LABELS}) {AFFECTED}"
CRITICAL = [rule.finding for rule in RULES if rule.state is Protection.UNPROTECTED]
CAUSES = [Finding.LAST_RUN_FAILED, Finding.OVERDUE, Finding.STUCK]  # other findings follow from these
RUN_TEXTS = {
    status.lower(): (status.lower(), "text" if status is RunStatus.SUCCESSFUL else color)
    for status, color in RUN_COLORS.items()
}


def _with_label(expression: str, label: str, value: str) -> str:
    return f'label_replace({expression}, "{label}", "{value}", "", "")'


# A problem of a whole project is one row, however many instances it has.
_UNKNOWN = f"sum by (project) ({for_teams(in_state('unknown'))}) > 0"
_PROJECT_UP = per_project("cloudsql_backup_exporter_project_up", shards="min")
_FAILING = f"{_PROJECT_UP} == 0 unless on (project) ({_UNKNOWN})"
UNKNOWN_ROWS = _with_label(_UNKNOWN, "instance_id", "(unknown instances)")
FAILING_ROWS = _with_label(_FAILING, "instance_id", "(all instances)")
PROJECT_FINDINGS = (
    f"{_with_label(UNKNOWN_ROWS, 'finding', FACTS_TOO_OLD)}\nor {_with_label(FAILING_ROWS, 'finding', PROJECT_FAILING)}"
)


def _rank() -> str:
    """Return the sort key: the integer part is the state, the rest the age relative to the critical limit."""
    relative = f"clamp_max(({LOSS}) / {per_instance('cloudsql_backup_policy_critical_age_seconds')}, 90) / 100"
    states = f"3 * ({in_state('unprotected')} == 1)\nor ({in_state('at_risk')} == 1)"
    without_age = f"0.95 * {per_instance('cloudsql_backup_protection')}"
    rank = f"(\n{states}\n)\n+ on ({INSTANCE_LABELS}) (\n{relative}\nor {without_age}\n)"
    return f"{for_teams(rank)}\nor 2 + 0 * {UNKNOWN_ROWS}\nor 2.7 + {FAILING_ROWS}"


def _finding(*findings: Finding) -> str:
    matcher = f'finding="{findings[0]}"' if len(findings) == 1 else f'finding=~"{"|".join(findings)}"'
    return current("cloudsql_backup_finding", matcher, by="finding")


def _findings() -> str:
    """Return every finding, except `stale` where `stale_critical` implies it."""
    others = current("cloudsql_backup_finding", 'finding!="stale"', by="finding")
    stale = f"{_finding(Finding.STALE)} unless on ({INSTANCE_LABELS}) {_finding(Finding.STALE_CRITICAL)}"
    findings = f"({others}\nor ({stale}))\n{ONLY_AFFECTED}"
    return f"{for_teams(findings)}\nor {PROJECT_FINDINGS}"


def main_finding() -> str:
    """Return the finding whose runbook to open: the cause of critical ones, else a critical one, a cause, or any."""
    any_finding = current("cloudsql_backup_finding", by="finding")
    ranked = ([Finding.DATA_UNREADABLE], [Finding.BACKUPS_DISABLED], CRITICAL, CAUSES)
    terms = [f"{len(ranked) + 1 - rank} * {_finding(*findings)}" for rank, findings in enumerate(ranked)]
    weighted = "\nor ".join([*terms, any_finding])
    worst = f"topk by ({INSTANCE_LABELS}) (\n1, {weighted}\n)\n{ONLY_AFFECTED}"
    return f'label_replace(\n{for_teams(worst)}\nor {PROJECT_FINDINGS},\n"runbook", "$1", "finding", "(.+)"\n)'


def _any_one(expression: str) -> str:
    """Return one series per instance, in case two replicas differ."""
    return f"topk by ({INSTANCE_LABELS}) (1, {expression})"


def _queries() -> list[Query]:
    max_age = per_instance("cloudsql_backup_policy_max_age_seconds")
    status = f"{per_instance('cloudsql_backup_last_completed_status', AUTOMATED, by='status')} == 1"
    error = current("cloudsql_backup_last_completed_error", AUTOMATED, by="code")
    team = f"max by ({INSTANCE_LABELS}, label_team) ({TEAM_INSTANCES})"
    return [
        table_query(_rank(), "A"),
        table_query(_findings(), "B"),
        table_query(for_teams(f"({LOSS_SINCE}) * 1000\n{ONLY_AFFECTED}"), "C"),
        table_query(for_teams(f"({LOSS})\n{ONLY_AFFECTED}"), "D"),
        table_query(for_teams(f"{max_age}\n{ONLY_AFFECTED}"), "E"),
        table_query(for_teams(f"{_any_one(status)}\n{ONLY_AFFECTED}"), "F"),
        table_query(for_teams(f"{_any_one(error)}\n{ONLY_AFFECTED}"), "G"),
        table_query(f"{_any_one(team)}\n{ONLY_AFFECTED}", "H"),
        table_query(main_finding(), "I"),
    ]


def _overrides() -> dict[str, dict[str, object]]:
    states = (("at risk", ORANGE), ("unknown", PURPLE), ("failing", PURPLE), ("unprotected", RED))
    return {
        "State": {
            "mappings": range_mappings((1, 2, 2.5, 3, 4), states),
            "custom.cellOptions": {"type": "color-background", "mode": "basic"},
            "custom.align": "left",
            "custom.width": 100,
        },
        "Project": {"links": [exporter_link("Show polls of this project")], "custom.width": 130},
        "Instance": {"links": [instance_link("Show instance")], "custom.width": 160},
        "Not backed up since": {"unit": "dateTimeAsIso", "custom.width": 165},
        "Age": {"unit": "s", "decimals": 2, "custom.width": 100},
        "Max age": {"unit": "s", "decimals": 2, "custom.width": 80},
        "Last run": {"mappings": [value_mappings(RUN_TEXTS)], **COLORED_TEXT, "custom.width": 100},
        "Error code": {"custom.width": 185},
        "Team": {"custom.width": 100},
        "Runbook": {"mappings": [RUNBOOK_MAPPINGS], "links": [runbook_link()], "custom.width": 140},
    }


def attention_table() -> sdk_table.Panel:
    """Return the table."""
    return table(
        "Needs attention, worst first",
        "Unprotected and at-risk instances, one row for the unknown instances of each project, and one row for each "
        "failing project. Sorted by state, then by age relative to the critical age of the policy. The age is that of "
        "the recovery point, or of the instance if it has never been backed up. Click an instance for its history, a "
        "project for its polls, or a runbook for instructions.",
        _queries(),
        width=24,
        height=18,
        columns={
            "Value #A": "State",
            "project": "Project",
            "instance_id": "Instance",
            "finding (uniqueValues)": "Findings",
            "Value #C": "Not backed up since",
            "Value #D": "Age",
            "Value #E": "Max age",
            "status": "Last run",
            "code": "Error code",
            "label_team": "Team",
            "runbook": "Runbook",
        },
        overrides=_overrides(),
        transformations=[joined_values("finding", "B")],
        sort_by="State",
        no_value="Nothing needs attention, provided that the panels above show data.",
    )
