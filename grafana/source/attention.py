"""The table of what needs attention: which instance is in most danger, since when, why, and who must act."""

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, MatcherConfig

from grafana.source.assembly import BLIND, RUNBOOKS, UNREAD, to_exporter, to_instance, to_runbook
from grafana.source.panels import (
    COLOURED,
    ORANGE,
    PURPLE,
    RED,
    RUNS,
    listing,
    rows,
    sort_by,
    spans,
    words,
)
from grafana.source.promql import AGE, EACH, OWNED, each, now, owned, project, state

# What a restore would lose reaches back to the recovery point, or to the creation of what never had a backup.
CREATED = each("instance_created_timestamp_seconds")
AT_STAKE_SINCE = f"{each('recovery_point_timestamp_seconds')}\nor {CREATED}"
AT_STAKE_FOR = f"{AGE}\nor time() - {CREATED}"
TROUBLED = f"{state('unprotected', 'at_risk')} == 1"
CRITICAL = ("backups_disabled", "never_succeeded", "stale_critical")  # those that leave an instance unprotected
CAUSES = ("last_run_failed", "overdue", "stuck")  # what others follow from
COLOURS_OF_RUNS = {
    status: (status, "text" if status == "successful" else colour) for status, (_, colour) in RUNS.items()
}


def _row(project_wide: str, name: str) -> str:
    return f'label_replace({project_wide}, "instance_id", "{name}", "", "")'


def _because(reason: str, expression: str) -> str:
    return f'label_replace({expression}, "finding", "{reason}", "", "")'


# What befalls a whole project is one row, however many instances it has.
_UNKNOWN = f"sum by (project) ({owned(state('unknown'))}) > 0"
_UNREAD = f"{project('project_up', shards='min')} == 0 unless on (project) ({_UNKNOWN})"
UNKNOWN_ROW, UNREAD_ROW = _row(_UNKNOWN, "(those unknown)"), _row(_UNREAD, "(all)")
OF_PROJECTS = f"{_because(BLIND, UNKNOWN_ROW)}\nor {_because(UNREAD, UNREAD_ROW)}"


def _rank() -> str:
    """How bad an instance fares, in one number: its whole part is the state, the rest age against the limit."""
    relative = f"clamp_max(({AT_STAKE_FOR}) / {each('policy_critical_age_seconds')}, 90) / 100"
    states = f"3 * ({state('unprotected')} == 1)\nor ({state('at_risk')} == 1)"
    ranked = f"(\n{states}\n)\n+ on ({EACH}) (\n{relative}\nor 0.95 * {each('protection')}\n)"
    return f"{owned(ranked)}\nor 2 + 0 * {UNKNOWN_ROW}\nor 2.7 + {UNREAD_ROW}"


def _reasons() -> str:
    """All that is wrong with an instance. What is critically stale is stale as well: that need not be said."""
    others = now("finding", 'finding!="stale"', by="finding")
    stale, critically = (now("finding", f'finding="{name}"', by="finding") for name in ("stale", "stale_critical"))
    found = f"({others}\nor ({stale} unless on ({EACH}) {critically}))\nand on ({EACH}) {TROUBLED}"
    return f"{owned(found)}\nor {OF_PROJECTS}"


def _worst_reason() -> str:
    """One of them for each instance: that whose runbook is to be opened."""
    critical, causes = (now("finding", f'finding=~"{"|".join(names)}"', by="finding") for names in (CRITICAL, CAUSES))
    weighed = f"3 * {critical}\nor 2 * {causes}\nor {now('finding', by='finding')}"
    worst = f"topk by ({EACH}) (\n1, {weighed}\n)\nand on ({EACH}) {TROUBLED}"
    return f'label_replace(\n{owned(worst)}\nor {OF_PROJECTS},\n"runbook", "$1", "finding", "(.+)"\n)'


def _one(expression: str) -> str:
    """One series an instance, should two replicas differ."""
    return f"topk by ({EACH}) (1, {expression})"


def attention() -> table.Panel:
    """The whole table."""
    automated = 'backup_type="automated"'
    status = f"{each('last_completed_status', automated, by='status')} == 1"
    troubled = f"and on ({EACH}) {TROUBLED}"
    group = {
        "Time": {"operation": "groupby", "aggregations": []},  # all that is left to merge an empty answer by
        "project": {"operation": "groupby", "aggregations": []},
        "instance_id": {"operation": "groupby", "aggregations": []},
        "finding": {"operation": "aggregate", "aggregations": ["uniqueValues"]},
    }
    listed = listing(
        "Needs attention, worst first",
        "Every instance that is unprotected or at risk; those that are unknown as one row a project, and each project "
        "whose last poll failed. Worst first: by state, and by how long data has been at stake, against the limit. At "
        "stake is what was written since the recovery point, or ever, where there never was a backup. Click an "
        "instance for its history, a project for how it is read, a runbook for what to do.",
        [
            rows(_rank(), "A"),
            rows(_reasons(), "B"),
            rows(owned(f"({AT_STAKE_SINCE}) * 1000\n{troubled}"), "C"),
            rows(owned(f"({AT_STAKE_FOR})\n{troubled}"), "D"),
            rows(owned(f"{each('policy_max_age_seconds')}\n{troubled}"), "E"),
            rows(owned(f"{_one(status)}\n{troubled}"), "F"),
            rows(owned(f"{_one(now('last_completed_error', automated, by='code'))}\n{troubled}"), "G"),
            rows(f"{_one(f'max by ({EACH}, label_team) ({OWNED})')}\n{troubled}", "H"),
            rows(_worst_reason(), "I"),
        ],
        {
            "Value #A": "State",
            "project": "Project",
            "instance_id": "Instance",
            "finding (uniqueValues)": "Why",
            "Value #C": "At stake since",
            "Value #D": "For",
            "Value #E": "Limit",
            "status": "Last backup",
            "code": "Error code",
            "label_team": "Team",
            "runbook": "Runbook",
        },
        {
            "State": {
                "mappings": spans(
                    (1, 2, 2.5, 3, 4),
                    (("at risk", ORANGE), ("unknown", PURPLE), ("not read", PURPLE), ("unprotected", RED)),
                ),
                "custom.cellOptions": {"type": "color-background", "mode": "basic"},
                "custom.align": "left",
                "custom.width": 105,
            },
            "Project": {"links": [to_exporter("See how it is read")], "custom.width": 130},
            "Instance": {"links": [to_instance("Open its history")], "custom.width": 165},
            "At stake since": {"unit": "dateTimeAsIso", "custom.width": 165},
            "For": {"unit": "s", "decimals": 2, "custom.width": 90},
            "Limit": {"unit": "s", "decimals": 2, "custom.width": 80},
            "Last backup": {"mappings": [words(COLOURS_OF_RUNS)], **COLOURED, "custom.width": 100},
            "Error code": {"custom.width": 195},
            "Team": {"custom.width": 100},
            "Runbook": {"mappings": [words(RUNBOOKS)], "links": [to_runbook()], "custom.width": 130},
        },
        before=[DataTransformerConfig("groupBy", options={"fields": group}, filter_val=MatcherConfig("byRefId", "B"))],
    )
    nothing = "No instance needs attention, as long as the numbers above are there."
    return listed.no_value(nothing).sort_by([sort_by("State")])
