"""Runbook and colour of each finding."""

from collections.abc import Mapping
from typing import NamedTuple

from exporter.verdict.rules import Finding
from grafana.source.style import ORANGE, PURPLE, RED, value_mappings

BASE_URL = "https://runbooks.example.com/cloudsql-backup"  # as in the alerting rules; users replace it with their own
ALERT_PREFIX = "CloudSQLBackup"


class Runbook(NamedTuple):
    """The page of an alert, and the colour in which tables show it."""

    alert: str
    color: str


RUNBOOKS: Mapping[Finding, Runbook] = {
    Finding.DATA_UNREADABLE: Runbook("CloudSQLBackupDataUnreadable", RED),
    Finding.BACKUPS_DISABLED: Runbook("CloudSQLBackupDisabled", RED),
    Finding.NEVER_SUCCEEDED: Runbook("CloudSQLBackupNeverSucceeded", RED),
    Finding.STALE_CRITICAL: Runbook("CloudSQLBackupStaleCritical", RED),
    Finding.STALE: Runbook("CloudSQLBackupStale", ORANGE),
    Finding.LAST_RUN_FAILED: Runbook("CloudSQLBackupLastRunFailed", ORANGE),
    Finding.OVERDUE: Runbook("CloudSQLBackupOverdue", ORANGE),
    Finding.STUCK: Runbook("CloudSQLBackupStuck", ORANGE),
    Finding.SLOW: Runbook("CloudSQLBackupSlow", ORANGE),
    Finding.PITR_DISABLED: Runbook("CloudSQLBackupPITRDisabled", ORANGE),
    Finding.PITR_LAGGING: Runbook("CloudSQLBackupPITRLagging", ORANGE),
    Finding.PITR_WINDOW_SHORT: Runbook("CloudSQLBackupPITRWindowShort", ORANGE),
    Finding.RETENTION_LOW: Runbook("CloudSQLBackupRetentionLow", ORANGE),
    Finding.LOCATION_NOT_ALLOWED: Runbook("CloudSQLBackupLocationNotAllowed", ORANGE),
    Finding.DELETION_UNGUARDED: Runbook("CloudSQLBackupDeletionUnguarded", ORANGE),
}

# Findings of a whole project. The exporter has none for it: the dashboards derive them from other metrics.
FACTS_TOO_OLD = "facts_too_old"
PROJECT_FAILING = "project_failing"
PROJECT_RUNBOOKS: Mapping[str, Runbook] = {
    FACTS_TOO_OLD: Runbook("CloudSQLBackupUnknown", PURPLE),
    PROJECT_FAILING: Runbook("CloudSQLBackupProjectUnreadable", PURPLE),
}

RUNBOOK_MAPPINGS = value_mappings(
    {
        finding: (runbook.alert.removeprefix(ALERT_PREFIX), runbook.color)
        for finding, runbook in (*RUNBOOKS.items(), *PROJECT_RUNBOOKS.items())
    }
)


def runbook_link(prefix: str = ALERT_PREFIX) -> dict[str, object]:
    """Return a link from a cell that shows an alert name without `prefix` to the runbook of that alert."""
    return {"title": "Open runbook", "url": f"${{runbooks}}/{prefix}${{__value.text}}.md", "targetBlank": True}
