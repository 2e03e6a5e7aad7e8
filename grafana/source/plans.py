"""The panels of the backup plan of one instance of the enhanced tier."""

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import Panel

from exporter.facts.backup_plans import RuleStatus
from grafana.source.panels import table, timeseries
from grafana.source.promql import EXPORTER_UP, INSTANCE, INSTANCE_LABELS, current, per_instance, selector
from grafana.source.queries import range_query, table_query
from grafana.source.style import COLORED_TEXT, GREEN, GREY, ORANGE, PURPLE, RED, value_mappings, words

STATUS_COLORS = {
    RuleStatus.SUCCEEDED: GREEN,
    RuleStatus.FAILED: RED,
    RuleStatus.PERMISSION_DENIED: ORANGE,
    RuleStatus.FIRST_BACKUP_PENDING: GREY,
    RuleStatus.UNKNOWN: PURPLE,
}
STATUS_MAPPINGS = value_mappings(
    {status.lower(): (words(status.lower()), color) for status, color in STATUS_COLORS.items()}
)
NO_PLAN = "No backup plan. Backup plans are read with collect.backup_dr, for instances of the enhanced tier."


def plan_panels(step: str) -> list[Builder[Panel]]:
    """Return the panels; `step` is the minimum step of graphs."""
    age = f"time() - {per_instance('cloudsql_backup_plan_rule_last_success_timestamp_seconds', by='rule')}"
    failures = f"increase({selector('cloudsql_backup_plan_rule_failures_total', INSTANCE)}[$__range])"
    return [
        table(
            "Backup plan",
            "The backup plan in Backup and DR that backs the instance up, and the vault that holds its backups.",
            [table_query(f"{current('cloudsql_backup_plan_info', by='plan, vault')} == 1")],
            width=5,
            height=8,
            columns={"plan": "Plan", "vault": "Vault"},
            no_value=NO_PLAN,
        ),
        table(
            "Rules",
            "For each rule of the plan: the state of the last backup, the age of the newest one, how long backups are "
            "kept, and how often the state changed to a failed one in the time range.",
            [
                table_query(f"{current('cloudsql_backup_plan_rule_status', by='rule, status')} == 1", "A"),
                table_query(age, "B"),
                table_query(per_instance("cloudsql_backup_plan_rule_retention_seconds", by="rule"), "C"),
                table_query(f"max by ({INSTANCE_LABELS}, rule) (round({failures})) and on () {EXPORTER_UP}", "D"),
            ],
            width=10,
            height=8,
            columns={
                "rule": "Rule",
                "status": "Last backup",
                "Value #B": "Newest backup",
                "Value #C": "Kept for",
                "Value #D": "Failures",
            },
            overrides={
                "Last backup": {"mappings": [STATUS_MAPPINGS], **COLORED_TEXT},
                "Newest backup": {"unit": "s", "decimals": 1},
                "Kept for": {"unit": "s", "decimals": 0},
                "Failures": {"decimals": 0},
            },
            no_value=NO_PLAN,
        ),
        timeseries(
            "Age of the newest backup by rule",
            "Time since the consistency time of the newest backup of each rule. The lowest is the age of the recovery "
            "point.",
            [range_query(age, "{{rule}}", "A", step)],
            width=9,
            height=8,
            unit="s",
        ),
    ]
