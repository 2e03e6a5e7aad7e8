"""An evaluation in words, as rows worst first."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from exporter.facts.deleted_instances import DeletedInstance
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.reasons import reasons, recovery_point_age
from exporter.verdict.rules import WORST_FIRST, Exemption, Finding, Protection

EXPIRES_SOON = timedelta(days=3)  # as in the alert CloudSQLBackupLastCopyExpiring
_STATE_ORDER = {state: position for position, state in enumerate(WORST_FIRST)}
_FINDING_ORDER = {finding: position for position, finding in enumerate(Finding)}


@dataclass(frozen=True, slots=True)
class Row:
    """One instance, in words; `age` and `age_seconds` are those of the recovery point."""

    project: str
    instance: str
    state: Protection
    findings: tuple[Finding, ...]
    exemption: Exemption | None
    reasons: tuple[str, ...]
    recovery_point: datetime | None
    age: str
    age_seconds: int | None
    next_due: datetime | None
    last_run: str


def problems(evaluation: Evaluation) -> list[str]:
    """Projects and searches that could not be read, or only partially, and what to do about it; one text each."""
    texts = [status.problem for status in evaluation.projects if status.problem]
    texts += [search.message for _, search in evaluation.searches if search.message]
    for status in evaluation.projects:
        regions = ", ".join(status.unreachable_regions)
        failed = (collection for collection in status.collected.status.values() if not collection.resource)
        texts += [collection.message for collection in failed if collection.message]
        if regions:
            consequence = "instances there are missing, or shown as last known"
            texts.append(f"project {status.project!r}: the API cannot reach {regions}: {consequence}")
        plans = status.collected.plans
        if plans and plans.unreachable_regions:
            regions = ", ".join(plans.unreachable_regions)
            missing = "backup plans there are missing, or shown as last known"
            texts.append(f"project {status.project!r}: Backup and DR cannot reach {regions}: {missing}")
    return texts


def missing_permissions(evaluation: Evaluation) -> list[tuple[str, str, str | None]]:
    """The projects and searches that could not be read for lack of an IAM permission, and its name; each once.

    The third item is the account that lacks it, if a target impersonates one.
    """
    projects = [(status.project, status.missing_permission, status.account) for status in evaluation.projects]
    collections = [
        (collection.resource or status.project, collection.missing_permission, status.account)
        for status in evaluation.projects
        for collection in status.collected.status.values()
    ]
    searches = [(query, search.missing_permission, search.account) for query, search in evaluation.searches]
    found = (*projects, *collections, *searches)
    return list(dict.fromkeys((subject, missing, account) for subject, missing, account in found if missing))


def expiring_soon(evaluation: Evaluation) -> list[DeletedInstance]:
    """The deleted instances whose last backup expires soon, or should have expired, by that time."""
    found = [
        (instance.last_expiry, instance.id, instance.deleted, instance)
        for instance in evaluation.deleted_instances
        if instance.last_expiry and instance.last_expiry - evaluation.now < EXPIRES_SOON
    ]
    return [instance for *_, instance in sorted(found, key=lambda entry: entry[:3])]


def worst_first(evaluation: Evaluation, states: Collection[Protection] = WORST_FIRST) -> list[Verdict]:
    """The verdicts in some states, by state and worst finding, then by project and name."""
    return sorted((verdict for verdict in evaluation.verdicts if verdict.state in states), key=rank)


def rank(verdict: Verdict) -> tuple[int, int]:
    """The sort key of a verdict: lower is worse. Verdicts of an evaluation are sorted by project and name already."""
    worst = _FINDING_ORDER[verdict.findings[0]] if verdict.findings else len(_FINDING_ORDER)
    return _STATE_ORDER[verdict.state], worst


def rows(evaluation: Evaluation, states: Collection[Protection] = WORST_FIRST) -> list[Row]:
    """One row per instance in some states, worst first."""
    return [
        Row(
            project=verdict.instance.id.project,
            instance=verdict.instance.id.name,
            state=verdict.state,
            findings=verdict.findings,
            exemption=verdict.exemption,
            reasons=reasons(verdict, evaluation),
            recovery_point=verdict.recovery_point,
            age=recovery_point_age(verdict, evaluation.now),
            age_seconds=recovery_point_age_seconds(verdict, evaluation.now),
            next_due=verdict.next_due,
            last_run=_last_run(verdict),
        )
        for verdict in worst_first(evaluation, states)
    ]


def recovery_point_age_seconds(verdict: Verdict, now: datetime) -> int | None:
    """The age of the recovery point in seconds, without fractions; None if there is no recovery point."""
    point = verdict.recovery_point
    return round((now - point).total_seconds()) if point else None


def totals(evaluation: Evaluation) -> dict[Protection, int]:
    """The number of instances in each state."""
    counts = Counter(verdict.state for verdict in evaluation.verdicts)
    return {state: counts[state] for state in WORST_FIRST}


def _last_run(verdict: Verdict) -> str:
    """The status and type of the newest run, or of a rule of the backup plan, the worst one first."""
    plan = verdict.collected.plan
    if plan:
        rule = next(iter((*plan.failed_rules, *plan.rules)), None)
        return f"{rule.status.lower().replace('_', ' ')} ({rule.id})" if rule else ""
    newest = next((run for run in verdict.history.runs if not run.status.deleted), None)
    return f"{newest.status.lower()} ({newest.type.lower().replace('_', ' ')})" if newest else ""


def rfc3339(timestamp: datetime | None) -> str | None:
    """A timestamp as text, to the second."""
    return timestamp.isoformat(timespec="seconds").replace("+00:00", "Z") if timestamp else None
