"""An evaluation as rows and plain data: shown by the status page, the JSON API and `status`."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from exporter.facts.history import History
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import reasons, recovery_point_age
from exporter.verdict.rules import WORST_FIRST, Protection

Json = dict[str, object]


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


def problems(evaluation: Evaluation) -> list[str]:
    """Projects and searches that could not be read, or only partially, and what to do about it; one text each."""
    texts = [status.message for status in evaluation.projects if status.message]
    texts += [search.message for _, search in evaluation.searches if search.message]
    for status in evaluation.projects:
        regions = ", ".join(status.unreachable_regions)
        if regions:
            consequence = "instances there are missing, or shown as last known"
            texts.append(f"project {status.project}: the API cannot reach {regions}: {consequence}")
    return texts


def rows(evaluation: Evaluation) -> list[Row]:
    """One row per instance, worst first, then by project and name."""
    ordered = sorted(evaluation.verdicts, key=lambda verdict: WORST_FIRST.index(verdict.state))
    return [
        Row(
            project=verdict.instance.id.project,
            instance=verdict.instance.id.name,
            state=verdict.state,
            reasons=reasons(verdict, evaluation),
            recovery_point=verdict.history.recovery_point,
            age=recovery_point_age(verdict, evaluation.now),
            last_run=_last_run(verdict.history),
        )
        for verdict in ordered
    ]


def totals(evaluation: Evaluation) -> dict[Protection, int]:
    """The number of instances in each state."""
    counts = Counter(verdict.state for verdict in evaluation.verdicts)
    return {state: counts[state] for state in WORST_FIRST}


def as_json(evaluation: Evaluation) -> Json:
    """The whole evaluation as plain data; timestamps are RFC 3339 text."""
    return {
        "now": _rfc3339(evaluation.now),
        "totals": {str(state): count for state, count in totals(evaluation).items()},
        "projects": [
            {
                "project": status.project,
                "up": status.up,
                "result": status.result,
                "message": status.message,
                "last_success": _rfc3339(status.last_success),
                "unreachable_regions": list(status.unreachable_regions),
            }
            for status in evaluation.projects
        ],
        "searches": [
            {"query": query, "up": search.up, "message": search.message, "projects": list(search.projects)}
            for query, search in evaluation.searches
        ],
        "instances": [_instance_json(verdict, evaluation) for verdict in evaluation.verdicts],
    }


def _instance_json(verdict: Verdict, evaluation: Evaluation) -> Json:
    return {
        "project": verdict.instance.id.project,
        "instance_id": verdict.instance.id.name,
        "state": verdict.state,
        "findings": list(verdict.findings),
        "exempt": verdict.exemption,
        "reasons": list(reasons(verdict, evaluation)),
        "recovery_point": _rfc3339(verdict.history.recovery_point),
        "next_due": _rfc3339(verdict.next_due),
        "last_runs": {
            backup_type.lower(): history.newest.status.lower()
            for backup_type, history in verdict.history.by_type.items()
            if history.newest
        },
    }


def _last_run(history: History) -> str:
    newest = next((run for run in history.runs if not run.status.deleted), None)
    return f"{newest.status.lower()} ({newest.type.lower().replace('_', ' ')})" if newest else ""


def _rfc3339(timestamp: datetime | None) -> str | None:
    return timestamp.isoformat(timespec="seconds").replace("+00:00", "Z") if timestamp else None
