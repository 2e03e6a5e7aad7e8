"""A view in words and plain data: what the status page, the JSON and `status` show."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from exporter.assess import Assessment, Exemption, Finding, Protection
from exporter.config import format_duration
from exporter.history import History
from exporter.view import View

WORST_FIRST = (
    Protection.UNPROTECTED,
    Protection.UNKNOWN,
    Protection.AT_RISK,
    Protection.PROTECTED,
    Protection.EXEMPT,
)

Json = dict[str, object]


def _age(verdict: Assessment, now: datetime) -> str:
    point = verdict.history.recovery_point
    return format_duration(now - point) if point else "unknown"


def _last_error(verdict: Assessment) -> str:
    errors = [history.newest_ended.error for history in verdict.history.by_type.values() if history.newest_ended]
    return next((f": {error.code}" for error in errors if error and error.code), "")


_SENTENCES: dict[Finding, Callable[[Assessment, datetime], str]] = {
    Finding.BACKUPS_DISABLED: lambda _v, _now: "automated backups are switched off",
    Finding.NEVER_SUCCEEDED: lambda _v, _now: "there is no backup that could be restored",
    Finding.STALE_CRITICAL: lambda v, now: (
        f"a restore would lose {_age(v, now)}, more than the critical {format_duration(v.policy.critical_age)}"
    ),
    Finding.STALE: lambda v, now: f"a restore would lose {_age(v, now)}, more than {format_duration(v.policy.max_age)}",
    Finding.LAST_RUN_FAILED: lambda v, _now: f"the last automated run failed{_last_error(v)}",
    Finding.OVERDUE: lambda _v, _now: "no automated run took place in the last window",
    Finding.STUCK: lambda v, _now: f"a run has been in progress for more than {format_duration(v.policy.max_duration)}",
    Finding.SLOW: lambda v, _now: f"the last backup took more than {format_duration(v.policy.max_duration)}",
    Finding.PITR_DISABLED: lambda _v, _now: "point-in-time recovery is off, and the policy requires it",
    Finding.RETENTION_LOW: lambda v, _now: (
        f"keeps {v.instance.backups.retained_backups} backups, fewer than {v.policy.min_retained}"
    ),
    Finding.LOCATION_NOT_ALLOWED: lambda v, _now: (
        f"the newest backup lies in {v.history.newest_success and v.history.newest_success.location}"
    ),
}

_REASONS: dict[Exemption, str] = {
    Exemption.READ_REPLICA: "a read replica: its primary is backed up",
    Exemption.READ_POOL: "a read pool: its primary is backed up",
    Exemption.EXTERNAL: "an external server: Cloud SQL does not back it up",
    Exemption.GREEN: "the green side of a blue-green deployment",
    Exemption.STOPPED: "stopped by its owner",
    Exemption.SUSPENDED: "suspended",
    Exemption.CREATING: "being created",
    Exemption.NEW: "new: its first backup is still to come",
    Exemption.MANAGED_ELSEWHERE: "backed up by Backup and DR",
    Exemption.IGNORED: "the policy expects no backups",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One instance, in words."""

    project: str
    instance: str
    state: Protection
    reasons: tuple[str, ...]
    recovery_point: datetime | None
    age: str
    last_run: str


def troubles(view: View) -> list[str]:
    """What could not be read, or not in whole, and what to do about it; a sentence or two each."""
    said = [status.message for status in view.projects if status.message]
    said += [search.message for _, search in view.searches if search.message]
    for status in view.projects:
        regions = ", ".join(status.unreachable_regions)
        if regions:
            text = f"the API cannot reach {regions}: instances there are missing, or shown as last known"
            said.append(f"project {status.project}: {text}")
    return said


def rows(view: View) -> list[Row]:
    """One row an instance, worst first, then by project and name."""
    ordered = sorted(view.assessments, key=lambda verdict: WORST_FIRST.index(verdict.state))
    return [
        Row(
            project=verdict.instance.id.project,
            instance=verdict.instance.id.name,
            state=verdict.state,
            reasons=reasons(verdict, view),
            recovery_point=verdict.history.recovery_point,
            age=_age(verdict, view.now) if verdict.history.recovery_point else "",
            last_run=_last_run(verdict.history),
        )
        for verdict in ordered
    ]


def reasons(verdict: Assessment, view: View) -> tuple[str, ...]:
    """Why the verdict is what it is, a sentence each; empty where all is well."""
    said = [_SENTENCES[finding](verdict, view.now) for finding in verdict.findings if not _said_worse(verdict, finding)]
    if verdict.exemption:
        said.append(_REASONS[verdict.exemption])
    if verdict.state is Protection.UNKNOWN:
        age = format_duration(view.now - view.read_at(verdict))
        said.insert(0, f"last read {age} ago, which is longer than poll.stale_after; this is what was known then")
    return tuple(said)


def totals(view: View) -> dict[Protection, int]:
    """How many instances are in each state."""
    counts = Counter(verdict.state for verdict in view.assessments)
    return {state: counts[state] for state in WORST_FIRST}


def as_json(view: View) -> Json:
    """The whole view as plain data; moments are RFC 3339 text."""
    return {
        "now": _moment(view.now),
        "totals": {str(state): count for state, count in totals(view).items()},
        "projects": [
            {
                "project": status.project,
                "up": status.up,
                "result": status.result,
                "message": status.message,
                "last_success": _moment(status.last_success),
                "unreachable_regions": list(status.unreachable_regions),
            }
            for status in view.projects
        ],
        "searches": [
            {"query": query, "up": search.up, "message": search.message, "projects": list(search.projects)}
            for query, search in view.searches
        ],
        "instances": [_instance_json(verdict, view) for verdict in view.assessments],
    }


def _instance_json(verdict: Assessment, view: View) -> Json:
    return {
        "project": verdict.instance.id.project,
        "instance_id": verdict.instance.id.name,
        "state": verdict.state,
        "findings": list(verdict.findings),
        "exempt": verdict.exemption,
        "reasons": list(reasons(verdict, view)),
        "recovery_point": _moment(verdict.history.recovery_point),
        "next_due": _moment(verdict.next_due),
        "last_runs": {
            backup_type.lower(): history.newest.status.lower()
            for backup_type, history in verdict.history.by_type.items()
            if history.newest
        },
    }


def _said_worse(verdict: Assessment, finding: Finding) -> bool:
    return finding is Finding.STALE and Finding.STALE_CRITICAL in verdict.findings


def _last_run(history: History) -> str:
    newest = next((run for run in history.runs if not run.status.deleted), None)
    return f"{newest.status.lower()} ({newest.type.lower().replace('_', ' ')})" if newest else ""


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z") if moment else None
