"""Backup plans: recovery points, and failures counted as changes of a rule's state."""

from datetime import datetime

import pytest

from exporter.facts.backup_plans import (
    MAX_RULES,
    AssociationState,
    BackupPlan,
    InstancePlan,
    InstancePlans,
    PlanAssociation,
    PlanRule,
    RuleError,
    RuleStatus,
    last_segment,
    merged,
)
from tests.support.builders import DAY, HOUR, NOW

S = RuleStatus
CREATED = NOW - 400 * DAY


def association(*rules: PlanRule, state: AssociationState = AssociationState.ACTIVE) -> PlanAssociation:
    return PlanAssociation("a", "projects/vaults/locations/eu/backupPlans/gold", "", state, rules)


def after(*statuses: RuleStatus | None, created: datetime | None = CREATED) -> InstancePlan:
    """The plan after readings in which its rule had these states; None: there was no association."""
    plan = InstancePlan(created)
    for status in statuses:
        plan = plan.updated(created, association(PlanRule("daily", status)) if status else None)
    return plan


@pytest.mark.parametrize(
    ("statuses", "failures"),
    [
        ([S.FAILED], 0),  # at first sight
        ([S.FAILED, S.FAILED], 0),
        ([S.SUCCEEDED, S.FAILED], 1),
        ([S.FIRST_BACKUP_PENDING, S.FAILED], 1),
        ([S.SUCCEEDED, S.FAILED, S.FAILED, S.FAILED], 1),
        ([S.SUCCEEDED, S.FAILED, S.SUCCEEDED, S.FAILED], 2),
        ([S.SUCCEEDED, S.PERMISSION_DENIED], 1),
        ([S.SUCCEEDED, S.FAILED, S.PERMISSION_DENIED], 2),
        ([S.FAILED, S.UNKNOWN, S.FAILED], 0),  # an unknown state tells nothing
        ([S.SUCCEEDED, S.UNKNOWN, S.FAILED], 1),
        ([S.UNKNOWN, S.FAILED], 0),
        ([S.FAILED, None, S.FAILED], 0),  # the association was gone for a while
        ([S.SUCCEEDED, None, S.FAILED], 1),
    ],
    ids=str,
)
def test_failures_are_changes_to_a_failed_state(statuses: list[RuleStatus | None], failures: int) -> None:
    assert after(*statuses).failures == {"daily": failures}


def test_each_rule_is_counted_by_itself() -> None:
    plan = InstancePlan(CREATED)
    for daily, hourly in ((S.SUCCEEDED, S.FAILED), (S.FAILED, S.FAILED), (S.FAILED, S.SUCCEEDED)):
        plan = plan.updated(CREATED, association(PlanRule("daily", daily), PlanRule("hourly", hourly)))
    assert plan.failures == {"daily": 1, "hourly": 0}


def test_another_instance_of_the_same_name_is_counted_from_zero() -> None:
    plan = after(S.SUCCEEDED, S.FAILED)
    again = plan.updated(NOW - DAY, association(PlanRule("daily", S.FAILED)))
    assert (again.failures, again.instance_created) == ({"daily": 0}, NOW - DAY)


def test_creation_time_that_cannot_be_read_for_a_while_changes_nothing() -> None:
    plan = after(S.SUCCEEDED, S.FAILED)
    unreadable = plan.updated(None, association(PlanRule("daily", S.SUCCEEDED)))
    assert unreadable.updated(CREATED, association(PlanRule("daily", S.FAILED))).failures == {"daily": 2}


def test_plan_that_says_the_same_is_the_same_object() -> None:
    plan = after(S.FAILED)
    assert plan.updated(CREATED, association(PlanRule("daily", S.FAILED))) is plan
    assert plan.updated(CREATED, association(PlanRule("daily", S.FAILED, error=RuleError("ABORTED", "")))) is not plan


def test_failures_of_former_rules_are_kept_up_to_a_limit() -> None:
    plan = after(S.SUCCEEDED, S.FAILED).updated(CREATED, association(PlanRule("weekly", S.SUCCEEDED)))
    assert plan.failures == {"daily": 1, "weekly": 0}
    for number in range(MAX_RULES):
        plan = plan.updated(CREATED, association(PlanRule(f"rule-{number}", S.SUCCEEDED)))
    assert len(plan.failures) == len(plan.last_known) <= MAX_RULES
    assert "daily" not in plan.failures


def test_recovery_point_is_the_newest_consistency_time_of_any_rule() -> None:
    rules = (
        PlanRule("daily", S.FAILED, NOW - 3 * DAY),
        PlanRule("hourly", S.SUCCEEDED, NOW - HOUR),
        PlanRule("monthly", S.FIRST_BACKUP_PENDING),
    )
    assert InstancePlan(CREATED, association(*rules)).recovery_point == NOW - HOUR
    assert InstancePlan(CREATED, association(rules[2])).recovery_point is None
    assert InstancePlan(CREATED).recovery_point is None


@pytest.mark.parametrize("state", AssociationState)
def test_association_protects_in_three_states(state: AssociationState) -> None:
    assert InstancePlan(CREATED, association(state=state)).protects is (
        state.value in ("ACTIVE", "CREATING", "UPDATING")
    )


def test_plan_adds_the_retention_and_a_vault_that_is_not_known_yet() -> None:
    plan = BackupPlan("gold", "vaults/eu", {"daily": 35 * DAY})
    found = association(PlanRule("daily"), PlanRule("hourly")).with_plan(plan)
    assert [(rule.id, rule.retention) for rule in found.rules] == [("daily", 35 * DAY), ("hourly", None)]
    assert found.vault == "vaults/eu"


def test_rules_with_the_same_id_are_one_and_the_failed_one_counts() -> None:
    rules = [
        PlanRule("a", S.SUCCEEDED, NOW - DAY),
        PlanRule("b"),
        PlanRule("a", S.FAILED),
        PlanRule("a", S.SUCCEEDED, NOW),
    ]
    assert merged(rules) == (PlanRule("a", S.FAILED, NOW), PlanRule("b"))


def test_plans_are_as_old_as_their_reading() -> None:
    plans = InstancePlans(NOW, {"new": InstancePlan(), "old": InstancePlan()}, carried_over={"old": NOW - DAY})
    assert [plans.facts_read_at(name) for name in ("new", "old", "never")] == [NOW, NOW - DAY, None]


@pytest.mark.parametrize("name", ["gold", "backupPlans/gold/", "projects/p/locations/l/backupPlans/gold"])
def test_last_segment(name: str) -> None:
    assert last_segment(name) == "gold"
