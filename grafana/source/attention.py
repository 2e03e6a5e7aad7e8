"""The table of what needs attention: which instance is in most danger, since when, why, and who must act."""

from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, MatcherConfig

from grafana.source.assembly import BLIND, RUNBOOKS, to_instance, to_runbook
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
from grafana.source.promql import AGE, EACH, OWNED, each, now, owned, state

TROUBLED = f"({state('unprotected', 'at_risk')} == 1 or {state('unknown')} == 1)"
CRITICAL = ("backups_disabled", "never_succeeded", "stale_critical")  # those that leave an instance unprotected
COLOURS_OF_RUNS = {status: (status, colour) for status, (_, colour) in RUNS.items()}


def attention() -> table.Panel:
    """The table; how bad an instance fares is one number, whose whole part is its state."""
    automated = 'backup_type="automated"'
    rank = (
        f"(\n3 * ({state('unprotected')} == 1)\n"
        f"or 2 * ({state('unknown')} == 1)\n"
        f"or ({state('at_risk')} == 1)\n)\n"
        f"+ on ({EACH}) (\nclamp_max({AGE} / {each('policy_critical_age_seconds')}, 90) / 100\n"
        f"or 0.95 * {each('protection')}\n)"
    )
    troubled = f"and on ({EACH}) {TROUBLED}"
    critical = f'finding=~"{"|".join(CRITICAL)}"'
    found = now("finding", by="finding")
    stale, critically = (now("finding", f'finding="{name}"', by="finding") for name in ("stale", "stale_critical"))
    others = now("finding", 'finding!="stale"', by="finding")
    blind = f'label_replace({state("unknown")} == 1, "finding", "{BLIND}", "", "")'
    worst = f"topk by ({EACH}) (\n1, 3 * {blind}\nor 2 * {now('finding', critical, by='finding')}\nor {found}\n)"
    group = {
        "project_id": {"operation": "groupby", "aggregations": []},
        "instance_id": {"operation": "groupby", "aggregations": []},
        "finding": {"operation": "aggregate", "aggregations": ["uniqueValues"]},
    }
    listed = listing(
        "Needs attention, worst first",
        "Every instance that is neither protected nor exempt. Unprotected come first, then unknown, then at risk; "
        "among these the oldest against its limit. A restore loses what was written after `Data safe until`. Click an "
        "instance for its history, a runbook for what to do.",
        [
            rows(owned(rank), "A"),
            rows(owned(f"{others}\nor ({stale} unless on ({EACH}) {critically})\nor {blind}"), "B"),
            rows(owned(f"{each('recovery_point_timestamp_seconds')} * 1000\n{troubled}"), "C"),
            rows(owned(f"{AGE}\n{troubled}"), "D"),
            rows(owned(f"{each('policy_max_age_seconds')}\n{troubled}"), "E"),
            rows(owned(f"{each('last_completed_status', automated, by='status')} == 1\n{troubled}"), "F"),
            rows(owned(f"{now('last_completed_error', automated, by='code')}\n{troubled}"), "G"),
            rows(f"max by ({EACH}, label_team) ({OWNED})\n{troubled}", "H"),
            rows(owned(f'label_replace(\n{worst},\n"runbook", "$1", "finding", "(.+)"\n)'), "I"),
        ],
        {
            "Value #A": "State",
            "project_id": "Project",
            "instance_id": "Instance",
            "finding (uniqueValues)": "Why",
            "Value #C": "Data safe until",
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
            "Data safe until": {"unit": "dateTimeAsIso", "noValue": "no backup", "custom.width": 165},
            "Age": {"unit": "s", "decimals": 2, "custom.width": 90},
            "Limit": {"unit": "s", "decimals": 2, "custom.width": 80},
            "Last backup": {"mappings": [words(COLOURS_OF_RUNS)], **COLOURED, "custom.width": 100},
            "Error code": {"custom.width": 180},
            "Team": {"custom.width": 100},
            "Runbook": {"mappings": [words(RUNBOOKS)], "links": [to_runbook()], "custom.width": 130},
        },
        before=[DataTransformerConfig("groupBy", options={"fields": group}, filter_val=MatcherConfig("byRefId", "B"))],
    )
    nothing = "No instance needs attention, as long as the numbers above are there."
    return listed.no_value(nothing).sort_by([sort_by("State")])
