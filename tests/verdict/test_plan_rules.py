"""The verdict rules for an instance that is judged by its backup plan; every threshold before, at and after it."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.backup_plans import (
    UNREAD,
    AssociationState,
    InstancePlan,
    PlanAssociation,
    PlanRule,
    RuleError,
    RuleStatus,
)
from exporter.facts.collected import InstanceFacts
from exporter.facts.history import history
from exporter.facts.model import (
    ActivationPolicy,
    BackupRun,
    BackupTier,
    DeletionSettings,
    Instance,
    InstanceState,
    SuspensionReason,
)
from exporter.verdict.assess import Freshness, Verdict, assess
from exporter.verdict.changes import began, next_change
from exporter.verdict.reasons import reason
from exporter.verdict.rules import Exemption, Finding, Protection
from exporter.web.pages.links import commands, next_command
from exporter.web.pages.verdicts import alert, step
from tests.support.builders import DAY, HOUR, INSTANCE, NOW, SECOND, SETTINGS, run
from tests.verdict.test_rules import AROUND_THRESHOLD, policy

S, A, F, E, P = RuleStatus, AssociationState, Finding, Exemption, Protection
ENHANCED = replace(INSTANCE, region="europe-west1", backups=replace(SETTINGS, tier=BackupTier.ENHANCED))
PLAN_NAME = "projects/vaults/locations/europe-west1/backupPlans/gold"
ASSOCIATION_NAME = "projects/shop-prod/locations/europe-west1/backupPlanAssociations/orders"


def plan(*rules: PlanRule, state: AssociationState = A.ACTIVE) -> InstancePlan:
    return InstancePlan(association=PlanAssociation(ASSOCIATION_NAME, PLAN_NAME, "vault", state, rules))


def rule(status: RuleStatus = S.SUCCEEDED, ago: timedelta | None = 8 * HOUR, name: str = "daily") -> PlanRule:
    return PlanRule(name, status, None if ago is None else NOW - ago)


def verdict_by(
    found: InstancePlan,
    *runs: BackupRun,
    instance: Instance = ENHANCED,
    freshness: Freshness | None = None,
    keys: Mapping[str, object] = MappingProxyType({}),
) -> Verdict:
    return assess(instance, history(runs), policy(**keys), NOW, freshness, InstanceFacts(plan=found))


def test_instance_with_a_recent_backup_by_its_plan_is_protected() -> None:
    verdict = verdict_by(plan(rule()))
    assert (verdict.state, verdict.findings, verdict.exemption) == (P.PROTECTED, (), None)
    assert (verdict.recovery_point, verdict.recovery_point_source) == (NOW - 8 * HOUR, "vault")
    assert verdict.next_due is None


@pytest.mark.parametrize("state", A)
def test_association_that_does_not_protect_is_backups_disabled(state: AssociationState) -> None:
    verdict = verdict_by(plan(rule(), state=state))
    disabled = state not in (A.ACTIVE, A.CREATING, A.UPDATING)
    assert verdict.findings == ((F.BACKUPS_DISABLED,) if disabled else ())
    assert verdict.state is (P.UNPROTECTED if disabled else P.PROTECTED)


def test_setting_of_automated_backups_does_not_count() -> None:
    disabled = replace(ENHANCED, backups=replace(ENHANCED.backups, enabled=False))
    assert verdict_by(plan(rule()), instance=disabled).findings == ()


@AROUND_THRESHOLD
def test_stale_beyond_max_age(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_by(plan(rule(ago=30 * HOUR + offset), rule(ago=20 * DAY, name="monthly")))
    assert verdict.findings == ((F.STALE,) if exceeded else ())


@AROUND_THRESHOLD
def test_stale_critical_beyond_critical_age(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_by(plan(rule(ago=54 * HOUR + offset)))
    assert verdict.findings == ((F.STALE_CRITICAL, F.STALE) if exceeded else (F.STALE,))
    assert verdict.state is (P.UNPROTECTED if exceeded else P.AT_RISK)


@AROUND_THRESHOLD
def test_new_until_the_end_of_the_grace_then_never_succeeded(offset: timedelta, exceeded: bool) -> None:
    young = replace(ENHANCED, created=NOW - 30 * HOUR - offset)
    verdict = verdict_by(plan(rule(S.FIRST_BACKUP_PENDING, None), state=A.CREATING), instance=young)
    assert verdict.exemption is (None if exceeded else E.NEW)
    assert verdict.findings == ((F.NEVER_SUCCEEDED,) if exceeded else ())


@pytest.mark.parametrize(
    ("found", "findings"),
    [
        (plan(rule(S.FAILED, None)), (F.LAST_RUN_FAILED,)),
        (plan(rule(S.PERMISSION_DENIED, None)), (F.LAST_RUN_FAILED,)),
        (plan(rule()), ()),
    ],
    ids=["failed", "denied", "succeeded"],
)
def test_success_or_failure_ends_the_exemption_of_a_new_instance(
    found: InstancePlan, findings: tuple[Finding, ...]
) -> None:
    verdict = verdict_by(found, instance=replace(ENHANCED, created=NOW - HOUR))
    assert (verdict.exemption, verdict.findings) == (None, findings)


@pytest.mark.parametrize(
    "found",
    [InstancePlan(), plan(), plan(rule(S.SUCCEEDED, None))],
    ids=["no plan", "no rule", "success without a time"],
)
def test_new_instance_without_anything_conclusive_is_exempt(found: InstancePlan) -> None:
    verdict = verdict_by(found, instance=replace(ENHANCED, created=NOW - HOUR))
    assert (verdict.state, verdict.exemption) == (P.EXEMPT, E.NEW)
    assert F.NEVER_SUCCEEDED in verdict_by(found).findings


@pytest.mark.parametrize(("status", "failed"), [(status, status in (S.FAILED, S.PERMISSION_DENIED)) for status in S])
def test_one_failed_rule_is_enough_for_last_run_failed(status: RuleStatus, failed: bool) -> None:
    verdict = verdict_by(plan(rule(), rule(status, DAY, "hourly")))
    assert verdict.findings == ((F.LAST_RUN_FAILED,) if failed else ())
    assert verdict.state is (P.AT_RISK if failed else P.PROTECTED)


def test_rules_about_runs_and_settings_do_not_apply() -> None:
    bare = replace(ENHANCED, deletion=DeletionSettings(), backups=replace(ENHANCED.backups, pitr_enabled=False))
    runs = [run(ago=10 * DAY, location="us", took=9 * HOUR)]
    keys = {
        "require_pitr": True,
        "require_deletion_guard": True,
        "min_retained": 100,
        "allowed_locations": ["eu"],
        "max_duration": "1h",
    }
    assert verdict_by(plan(rule()), *runs, instance=bare, keys=keys).findings == ()


def test_runs_from_before_the_tier_are_no_recovery_point() -> None:
    verdict = verdict_by(plan(rule(S.FIRST_BACKUP_PENDING, None)), run())
    assert (verdict.recovery_point, verdict.findings) == (None, (F.NEVER_SUCCEEDED,))


def test_revoked_key_makes_the_backups_of_a_plan_useless() -> None:
    revoked = replace(ENHANCED, state=InstanceState.SUSPENDED, suspension_reasons=(SuspensionReason.KMS_KEY_ISSUE,))
    assert verdict_by(plan(rule()), instance=revoked).findings == (F.DATA_UNREADABLE,)
    assert verdict_by(UNREAD, instance=revoked).findings == (F.DATA_UNREADABLE,)


@pytest.mark.parametrize(
    ("instance", "keys", "exemption"),
    [
        (ENHANCED, {"expected": "never"}, E.IGNORED),
        (replace(ENHANCED, state=InstanceState.PENDING_CREATE), {}, E.CREATING),
        (replace(ENHANCED, activation=ActivationPolicy.NEVER), {}, E.STOPPED),
        (replace(ENHANCED, state=InstanceState.SUSPENDED), {}, E.SUSPENDED),
    ],
)
def test_other_exemptions_hold_as_ever(instance: Instance, keys: dict[str, object], exemption: Exemption) -> None:
    verdict = verdict_by(InstancePlan(), instance=instance, keys=keys)
    assert (verdict.state, verdict.exemption, verdict.findings) == (P.EXEMPT, exemption, ())


def test_expected_always_waives_the_grace_and_overrides_exemptions() -> None:
    young = replace(ENHANCED, created=NOW - HOUR, activation=ActivationPolicy.NEVER)
    verdict = verdict_by(plan(rule(S.FIRST_BACKUP_PENDING, None)), instance=young, keys={"expected": "always"})
    assert (verdict.exemption, verdict.findings) == (None, (F.NEVER_SUCCEEDED,))


@AROUND_THRESHOLD
def test_unknown_beyond_stale_after(offset: timedelta, exceeded: bool) -> None:
    verdict = verdict_by(plan(rule(S.FAILED)), freshness=Freshness(NOW - HOUR - offset, HOUR))
    assert verdict.state is (P.UNKNOWN if exceeded else P.AT_RISK)
    assert verdict.findings == (F.LAST_RUN_FAILED,)


def test_plan_that_was_never_read_is_unknown_whatever_else_holds() -> None:
    for instance in (ENHANCED, replace(ENHANCED, created=NOW - HOUR), replace(ENHANCED, state=InstanceState.SUSPENDED)):
        assert verdict_by(UNREAD, run(), instance=instance).state is P.UNKNOWN
    verdict = verdict_by(UNREAD, run())
    assert (verdict.findings, verdict.exemption, verdict.recovery_point) == ((), None, None)


@given(
    st.lists(
        st.builds(rule, st.sampled_from(S), st.none() | st.integers(0, 100).map(lambda hours: hours * HOUR)), max_size=3
    ),
    st.sampled_from(A),
    st.integers(0, 100),
)
def test_protected_instance_has_a_recent_recovery_point(
    rules: list[PlanRule], state: AssociationState, age: int
) -> None:
    verdict = verdict_by(plan(*rules, state=state), instance=replace(ENHANCED, created=NOW - age * HOUR))
    if verdict.state is P.PROTECTED:
        assert verdict.recovery_point is not None
        assert NOW - verdict.recovery_point <= verdict.policy.max_age


def test_changes_of_the_state_are_foreseen_and_their_beginning_is_known() -> None:
    fresh = verdict_by(plan(rule(ago=29 * HOUR)))
    change = next_change(fresh, NOW)
    assert change
    assert (change.at - NOW, change.state) == (HOUR + timedelta(microseconds=1), P.AT_RISK)
    now = Freshness(NOW, HOUR)
    assert began(verdict_by(plan(rule(ago=31 * HOUR))), NOW, now) == NOW - HOUR
    assert began(verdict_by(plan(rule(S.FAILED))), NOW, now) is None  # Google tells no time


def test_findings_are_explained_in_words_of_backup_plans() -> None:
    denied = replace(rule(S.PERMISSION_DENIED, 40 * HOUR), error=RuleError("PERMISSION_DENIED", "no access"))
    cases = [
        (InstancePlan(), F.BACKUPS_DISABLED, "no backup plan is associated with the instance"),
        (plan(state=A.PAUSED), F.BACKUPS_DISABLED, "the association with backup plan gold is paused"),
        (plan(), F.NEVER_SUCCEEDED, "no backup plan has made a backup to restore"),
        (
            plan(denied, rule(S.FAILED, None, "hourly")),
            F.LAST_RUN_FAILED,
            "the last backup failed by these rules of its plan: daily (PERMISSION_DENIED), hourly",
        ),
        (plan(rule(ago=40 * HOUR)), F.STALE, "a restore would lose 1d 16h, more than max_age (1d 6h)"),
    ]
    for found, finding, words in cases:
        verdict = verdict_by(found)
        assert finding in verdict.findings
        assert reason(finding, verdict, NOW) == words
        assert "plan" in step(finding, verdict)
    assert alert(F.LAST_RUN_FAILED, verdict_by(plan(denied))) == "CloudSQLBackupPlanRuleFailed"
    assert alert(F.STALE, verdict_by(plan(denied))) == "CloudSQLBackupStale"


def test_commands_are_those_of_backup_plans() -> None:
    group = "gcloud backup-dr backup-plan-associations"
    trigger = f"{group} trigger-backup {ASSOCIATION_NAME} --backup-rule-id=daily"
    assert [command.command for command in commands(verdict_by(plan(rule())))] == [
        "gcloud sql instances describe orders --project=shop-prod",
        f"{group} list --project=shop-prod --location=europe-west1",
        f"{group} describe {ASSOCIATION_NAME}",
        trigger,
        f"gcloud backup-dr backup-plans describe {PLAN_NAME}",
    ]
    assert len(commands(verdict_by(InstancePlan()))) == 2
    assert next_command(verdict_by(plan(rule(ago=2 * DAY)))) == trigger
    assert next_command(verdict_by(plan(rule(S.FAILED)))) == f"{group} describe {ASSOCIATION_NAME}"
    assert next_command(verdict_by(InstancePlan())) == f"{group} list --project=shop-prod --location=europe-west1"
    assert next_command(verdict_by(UNREAD)) == ""


def test_time_passes_for_the_same_plan() -> None:
    found = InstanceFacts(plan=plan(rule()))
    states = [
        assess(ENHANCED, history([]), policy(), NOW + later, None, found).state for later in (0 * SECOND, DAY, 3 * DAY)
    ]
    assert states == [P.PROTECTED, P.AT_RISK, P.UNPROTECTED]
