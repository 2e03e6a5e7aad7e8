"""The table of what needs attention: which instance is in most danger, since when, why, and who must act."""

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, MatcherConfig

from grafana.source.assembly import BLIND, RUNBOOKS, UNREAD, to_instance, to_runbook
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

TROUBLED = f"({state('unprotected', 'at_risk')} == 1 or {state('unknown')} == 1)"
CRITICAL = ("backups_disabled", "never_succeeded", "stale_critical")  # those that leave an instance unprotected
CAUSES = ("last_run_failed", "overdue", "stuck")  # what others follow from
COLOURS_OF_RUNS = {
    status: (status, "text" if status == "successful" else colour) for status, (_, colour) in RUNS.items()
}


def _because(reason: str, expression: str) -> str:
    return f'label_replace({expression}, "finding", "{reason}", "", "")'


ALL_OF_IT = f'label_replace({project("project_up")} == 0, "instance_id", "(all)", "", "")'  # of a project not read
NOT_KNOWN = _because(BLIND, f"{state('unknown')} == 1")
NOT_READ = _because(UNREAD, ALL_OF_IT)


def _rank() -> str:
    """How bad an instance fares, in one number: its whole part is the state, the rest age against the limit."""
    relative = f"clamp_max({AGE} / {each('policy_critical_age_seconds')}, 90) / 100"
    states = f"3 * ({state('unprotected')} == 1)\nor 2 * ({state('unknown')} == 1)\nor ({state('at_risk')} == 1)"
    ranked = f"(\n{states}\n)\n+ on ({EACH}) (\n{relative}\nor 0.95 * {each('protection')}\n)"
    return f"{owned(ranked)}\nor 2.99 + {ALL_OF_IT}"


def _reasons() -> str:
    """All that is wrong with an instance. What is critically stale is stale as well: that need not be said."""
    others = now("finding", 'finding!="stale"', by="finding")
    stale, critically = (now("finding", f'finding="{name}"', by="finding") for name in ("stale", "stale_critical"))
    found = f"{others}\nor ({stale} unless on ({EACH}) {critically})\nor {NOT_KNOWN}"
    return f"{owned(found)}\nor {NOT_READ}"


def _worst_reason() -> str:
    """One of them for each instance: that whose runbook is to be opened."""
    critical, causes = (now("finding", f'finding=~"{"|".join(names)}"', by="finding") for names in (CRITICAL, CAUSES))
    weighed = f"4 * {NOT_KNOWN}\nor 3 * {critical}\nor 2 * {causes}\nor {now('finding', by='finding')}"
    worst = f"topk by ({EACH}) (\n1, {weighed}\n)"
    return f'label_replace(\n{owned(worst)}\nor {NOT_READ},\n"runbook", "$1", "finding", "(.+)"\n)'


def attention() -> table.Panel:
    """The whole table."""
    automated = 'backup_type="automated"'
    troubled = f"and on ({EACH}) {TROUBLED}"
    group = {
        "project_id": {"operation": "groupby", "aggregations": []},
        "instance_id": {"operation": "groupby", "aggregations": []},
        "finding": {"operation": "aggregate", "aggregations": ["uniqueValues"]},
    }
    listed = listing(
        "Needs attention, worst first",
        "Every instance that is neither protected nor exempt, and every project that cannot be read. Unprotected come "
        "first, then unknown, then at risk; among these the oldest against its limit. A restore loses what was written "
        "after the recovery point. Click an instance for its history, a runbook for what to do.",
        [
            rows(_rank(), "A"),
            rows(_reasons(), "B"),
            rows(owned(f"{each('recovery_point_timestamp_seconds')} * 1000\n{troubled}"), "C"),
            rows(owned(f"{AGE}\n{troubled}"), "D"),
            rows(owned(f"{each('policy_max_age_seconds')}\n{troubled}"), "E"),
            rows(owned(f"{each('last_completed_status', automated, by='status')} == 1\n{troubled}"), "F"),
            rows(owned(f"{now('last_completed_error', automated, by='code')}\n{troubled}"), "G"),
            rows(f"max by ({EACH}, label_team) ({OWNED})\n{troubled}", "H"),
            rows(_worst_reason(), "I"),
        ],
        {
            "Value #A": "State",
            "project_id": "Project",
            "instance_id": "Instance",
            "finding (uniqueValues)": "Why",
            "Value #C": "Recovery point",
            "Value #D": "Age",
            "Value #E": "Limit",
            "status": "Last backup",
            "code": "Error code",
            "label_team": "Team",
            "runbook": "Runbook",
        },
        {
            "State": {
                "mappings": spans((1, 2, 3, 4), (("at risk", ORANGE), ("unknown", PURPLE), ("unprotected", RED))),
                "custom.cellOptions": {"type": "color-background", "mode": "basic"},
                "custom.align": "left",
                "custom.width": 105,
            },
            "Project": {"custom.width": 130},
            "Instance": {"links": [to_instance("Open its history")], "custom.width": 165},
            "Recovery point": {"unit": "dateTimeAsIso", "custom.width": 165},
            "Age": {"unit": "s", "decimals": 2, "custom.width": 90},
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
