"""Metrics about the backup plans of instances of the enhanced tier, and the failures of their rules."""

from collections.abc import Callable, Iterator

from exporter.facts.backup_plans import PlanRule, RuleStatus, last_segment
from exporter.metrics.metric import Metric, Number, Sample
from exporter.verdict.assess import Verdict


def _rules(verdict: Verdict) -> tuple[PlanRule, ...]:
    return verdict.collected.plan.rules if verdict.collected.plan else ()


def _info(verdict: Verdict) -> Iterator[Sample]:
    plan = verdict.collected.plan
    if plan and plan.association:
        yield Sample((last_segment(plan.association.plan), last_segment(plan.association.vault)), 1.0)


def _statuses(verdict: Verdict) -> Iterator[Sample]:
    for rule in _rules(verdict):
        for status in RuleStatus:
            yield Sample((rule.id, status.lower()), float(status is rule.status))


def _by_rule(name: str, help_text: str, read: Callable[[PlanRule], Number | None]) -> Metric[Verdict]:
    """A gauge with one sample for each rule of which the value is known."""

    def samples(verdict: Verdict) -> Iterator[Sample]:
        for rule in _rules(verdict):
            value = read(rule)
            if value is not None:
                yield Sample((rule.id,), value)

    return Metric(name, help_text, ("rule",), samples)


def _failures(verdict: Verdict) -> Iterator[Sample]:
    plan = verdict.collected.plan
    if plan:
        for rule in plan.rules:
            yield Sample((rule.id,), plan.failures.get(rule.id, 0))


PLANS: tuple[Metric[Verdict], ...] = (
    Metric(
        "cloudsql_backup_plan_info",
        "Backup plan and vault of an instance of the enhanced tier; always 1.",
        ("plan", "vault"),
        _info,
    ),
    Metric(
        "cloudsql_backup_plan_rule_status",
        "State of the last backup by the rule: 1 for its state, 0 for all others.",
        ("rule", "status"),
        _statuses,
    ),
    _by_rule(
        "cloudsql_backup_plan_rule_last_success_timestamp_seconds",
        "Consistency time of the newest backup by the rule: it contains all data up to then.",
        lambda rule: rule.last_success,
    ),
    _by_rule(
        "cloudsql_backup_plan_rule_retention_seconds",
        "Time for which the plan keeps backups by the rule.",
        lambda rule: rule.retention,
    ),
    Metric(
        "cloudsql_backup_plan_rule_failures_total",
        "Changes of the state of the rule to failed or permission_denied since the instance was first seen.",
        ("rule",),
        _failures,
        "counter",
    ),
)
