"""The exporter's rules, each broken in one way: a comparison of verdicts that does not notice is worth nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from exporter.config import Expected, Policy
from exporter.facts import history as history_module
from exporter.facts.backup_plans import AssociationState, InstancePlan, RuleStatus
from exporter.facts.collected import InstanceFacts
from exporter.facts.history import History, TypeHistory, history
from exporter.facts.model import BackupRun, BackupType, Instance, InstanceState, RunStatus, SuspensionReason
from exporter.facts.packed_runs import PackedRuns, RunHeader
from exporter.verdict import assess as assess_module
from exporter.verdict import rules, windows
from exporter.verdict.assess import Freshness, Verdict, assess
from exporter.verdict.rules import PLAN_RULES, RULES, Case, Exemption, Finding, Protection, exemption
from tests.support.builders import MINUTE, SECOND
from tests.verdict.random_cases import MICROSECOND

Break = Callable[[pytest.MonkeyPatch], None]
S = RunStatus

BROKEN: dict[str, Break] = {}


def _broken(break_rule: Break) -> Break:
    """Register a way of breaking a rule under the name of its function."""
    BROKEN[break_rule.__name__] = break_rule
    return break_rule


def _replace_rule(patch: pytest.MonkeyPatch, finding: Finding, holds: Callable[[Case], bool]) -> None:
    patch.setattr(
        assess_module, "RULES", tuple(replace(rule, holds=holds) if rule.finding is finding else rule for rule in RULES)
    )


def _replace_types(patch: pytest.MonkeyPatch, change: Callable[[TypeHistory, list[RunHeader]], TypeHistory]) -> None:
    original = history_module._type_history

    def broken(headers: list[RunHeader], expired: list[RunHeader], run: Callable[[int], BackupRun]) -> TypeHistory:
        return change(original(headers, expired, run), headers)

    patch.setattr(history_module, "_type_history", broken)


def _with_statuses(past: History, **changes: RunStatus) -> History:
    """The history as if runs of one status had another."""
    return history([replace(run, status=changes.get(run.status.name, run.status)) for run in past.runs])


def _without_rule(finding: Finding) -> Break:
    def break_rule(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(assess_module, "RULES", tuple(rule for rule in RULES if rule.finding is not finding))

    return break_rule


def _without_exemption(reason: Exemption) -> Break:
    def broken(case: Case) -> Exemption | None:
        found = exemption(case)
        return None if found is reason else found

    return lambda patch: patch.setattr(assess_module, "exemption", broken)


def _without_plan_rule(finding: Finding) -> Break:
    def break_rule(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(assess_module, "PLAN_RULES", tuple(rule for rule in PLAN_RULES if rule.finding is not finding))

    return break_rule


BROKEN |= {f"no_finding_{rule.finding}_by_plan": _without_plan_rule(rule.finding) for rule in PLAN_RULES}
BROKEN |= {f"no_finding_{finding}": _without_rule(finding) for finding in Finding}
BROKEN |= {f"no_exemption_{reason}": _without_exemption(reason) for reason in Exemption}


# Windows


@_broken
def unscheduled_run_hides_a_missed_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "MAX_START_DELAY", MINUTE)


@_broken
def scheduled_run_starts_within_one_second(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "MAX_START_DELAY", SECOND)


@_broken
def scheduled_run_starts_within_less_than_two_seconds(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "MAX_START_DELAY", 2 * SECOND - MICROSECOND)


@_broken
def window_is_a_minute_shorter(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "WINDOW", windows.WINDOW - MINUTE)


@_broken
def missed_window_is_judged_by_facts_read_before_it_closed(patch: pytest.MonkeyPatch) -> None:
    def broken(instance: Instance, past: History, now: datetime, _read_at: datetime) -> bool:
        return windows.window_missed(instance, past, now, now)

    patch.setattr(rules, "window_missed", broken)


@_broken
def window_closes_one_microsecond_later(patch: pytest.MonkeyPatch) -> None:
    def broken(instance: Instance, past: History, now: datetime, read_at: datetime) -> bool:
        return windows.window_missed(instance, past, now - MICROSECOND, read_at - MICROSECOND)

    patch.setattr(rules, "window_missed", broken)


@_broken
def window_in_which_the_instance_was_created_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "_existed", lambda _instance, _opened: True)


@_broken
def instance_created_when_a_window_opens_misses_it(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(windows, "_existed", lambda instance, opened: instance.created is None or instance.created < opened)


@_broken
def run_on_demand_counts_for_a_window(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(History, "automated_since", lambda past, timestamp: list(past.runs.since(timestamp)))


@_broken
def deleted_run_does_not_count_for_its_window(patch: pytest.MonkeyPatch) -> None:
    original = History.automated_since
    patch.setattr(
        History, "automated_since", lambda past, since: [run for run in original(past, since) if not run.status.deleted]
    )


@_broken
def overdue_holds_while_backups_are_disabled(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        enabled = replace(case.instance, backups=replace(case.instance.backups, enabled=True))
        return rules._overdue(replace(case, instance=enabled))

    _replace_rule(patch, Finding.OVERDUE, broken)


@_broken
def overdue_run_counts_while_a_newer_one_is_running(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        newest = case.history.of(BackupType.AUTOMATED).newest_completed
        overdue = newest is not None and newest.status is S.OVERDUE and case.instance.backups.enabled is not False
        return overdue or rules._overdue(case)

    _replace_rule(patch, Finding.OVERDUE, broken)


@_broken
def enqueued_run_moves_the_next_due_time(patch: pytest.MonkeyPatch) -> None:
    def broken(instance: Instance, past: History, now: datetime) -> datetime | None:
        return windows.next_due(instance, _with_statuses(past, ENQUEUED=S.RUNNING), now)

    patch.setattr(assess_module, "next_due", broken)


# Recovery point and ages


@_broken
def stale_by_the_age_of_the_last_success(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case, age: timedelta) -> bool:
        newest = case.history.newest_success
        return newest is not None and case.now - newest.effective_start > age

    patch.setattr(Case, "older_than", broken)


@_broken
def stale_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    original = Case.older_than
    patch.setattr(Case, "older_than", lambda case, age: original(case, age - MICROSECOND))


@_broken
def skipped_run_after_a_deleted_backup_moves_the_recovery_point(patch: pytest.MonkeyPatch) -> None:
    def broken(success: RunHeader, headers: Sequence[RunHeader]) -> RunHeader | None:
        later = [header for header in headers if header.scheduled > success.effective_start]
        return next((header for header in later if header.status is S.SKIPPED), None)

    patch.setattr(history_module, "_skip_after", broken)


@_broken
def vanished_backup_does_not_count_as_deleted(patch: pytest.MonkeyPatch) -> None:
    original = history_module._skip_after
    patch.setattr(
        history_module,
        "_skip_after",
        lambda success, headers: original(success, [header for header in headers if header.status is not S.VANISHED]),
    )


@_broken
def deleted_backup_is_placed_by_when_it_was_enqueued(patch: pytest.MonkeyPatch) -> None:
    original = history_module._skip_after
    patch.setattr(
        history_module,
        "_skip_after",
        lambda success, headers: original(
            success, [header for header in headers if header.scheduled > success.effective_start]
        ),
    )


@_broken
def success_of_the_latest_window_is_the_newest(patch: pytest.MonkeyPatch) -> None:
    original = PackedRuns.headers
    patch.setattr(
        PackedRuns,
        "headers",
        lambda runs: [header._replace(effective_start=header.scheduled) for header in original(runs)],
    )


# Recovery times


@_broken
def pitr_lagging_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        times = case.judged_recovery_times
        return bool(times and times.lag is not None and times.lag >= case.policy.max_pitr_lag)

    _replace_rule(patch, Finding.PITR_LAGGING, broken)


@_broken
def pitr_lagging_by_the_age_of_the_latest_recovery_time(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        times = case.judged_recovery_times
        return bool(times and times.latest and case.now - times.latest > case.policy.max_pitr_lag)

    _replace_rule(patch, Finding.PITR_LAGGING, broken)


def _window_is_short(case: Case, expected: Callable[[Instance], timedelta | None], less: timedelta) -> bool:
    times, window = case.judged_recovery_times, expected(case.instance)
    if times is None or times.window is None or window is None:
        return False
    return times.window < window - less and all(case.now > due for due in rules._window_due(case))


@_broken
def pitr_window_short_without_a_day_of_grace(patch: pytest.MonkeyPatch) -> None:
    _replace_rule(
        patch, Finding.PITR_WINDOW_SHORT, lambda case: _window_is_short(case, rules.expected_window, timedelta())
    )


@_broken
def pitr_window_short_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    less = windows.DAY - MICROSECOND
    _replace_rule(patch, Finding.PITR_WINDOW_SHORT, lambda case: _window_is_short(case, rules.expected_window, less))


@_broken
def pitr_window_short_by_the_days_of_logs_alone(patch: pytest.MonkeyPatch) -> None:
    def expected(instance: Instance) -> timedelta | None:
        backups = instance.backups
        return backups.transaction_log_retention if backups.retained_backups is not None else None

    _replace_rule(patch, Finding.PITR_WINDOW_SHORT, lambda case: _window_is_short(case, expected, windows.DAY))


@_broken
def new_setting_shortens_the_window(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        return rules._pitr_window_short(replace(case, collected=replace(case.collected, settings_changed=None)))

    _replace_rule(patch, Finding.PITR_WINDOW_SHORT, broken)


@_broken
def new_instance_has_a_short_window(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        return rules._pitr_window_short(replace(case, instance=replace(case.instance, created=None)))

    _replace_rule(patch, Finding.PITR_WINDOW_SHORT, broken)


@_broken
def setting_is_new_for_a_day_less(patch: pytest.MonkeyPatch) -> None:
    original = rules._window_due
    patch.setattr(rules, "_window_due", lambda case: [due - windows.DAY for due in original(case)])


@_broken
def recovery_times_of_a_stopped_instance_are_judged(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instance, "is_running_primary", Instance.is_primary)


@_broken
def log_without_a_backup_is_a_recovery_point(patch: pytest.MonkeyPatch) -> None:
    original = vars(Case)["recovery_point"]

    def broken(case: Case) -> object:
        times = case.collected.recovery_times
        keeps_logs = case.instance.is_primary and case.instance.backups.pitr_enabled
        return original.__get__(case) or (times.latest if times and keeps_logs else None)

    patch.setattr(Case, "recovery_point", property(broken))


@_broken
def log_counts_while_point_in_time_recovery_is_off(patch: pytest.MonkeyPatch) -> None:
    original = vars(Case)["_later_in_log"]

    def broken(case: Case) -> object:
        enabled = replace(case.instance, backups=replace(case.instance.backups, pitr_enabled=True))
        return original.__get__(replace(case, instance=enabled))

    patch.setattr(Case, "_later_in_log", property(broken))


@_broken
def log_of_a_replica_counts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Instance, "is_primary", property(lambda _instance: True))


@_broken
def log_does_not_count(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Case, "_later_in_log", property(lambda _case: None))


@_broken
def log_counts_before_a_newer_backup(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> datetime | None:
        times = case.collected.recovery_times
        keeps_logs = case.instance.is_primary and case.instance.backups.pitr_enabled
        return times.latest if times and keeps_logs and case.history.recovery_point else None

    patch.setattr(Case, "_later_in_log", property(broken))


# Runs


@_broken
def skipped_run_counts_as_failed(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        newest = case.history.of(BackupType.AUTOMATED).newest_completed
        return newest is not None and newest.status in (S.FAILED, S.SKIPPED)

    _replace_rule(patch, Finding.LAST_RUN_FAILED, broken)


@_broken
def running_backup_hides_a_failed_one(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        newest = case.history.of(BackupType.AUTOMATED).newest
        return newest is not None and newest.status is S.FAILED

    _replace_rule(patch, Finding.LAST_RUN_FAILED, broken)


@_broken
def stuck_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    _replace_rule(
        patch,
        Finding.STUCK,
        lambda case: any(
            case.now - run.effective_start >= case.policy.max_duration for run in case.history.in_progress
        ),
    )


@_broken
def slow_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        newest = case.history.newest_success
        return bool(newest and newest.duration is not None and newest.duration >= case.policy.max_duration)

    _replace_rule(patch, Finding.SLOW, broken)


@_broken
def deleted_run_is_retained(patch: pytest.MonkeyPatch) -> None:
    def count_deleted(found: TypeHistory, headers: list[RunHeader]) -> TypeHistory:
        return replace(found, retained=found.retained + sum(header.status is S.DELETED for header in headers))

    _replace_types(patch, count_deleted)


@_broken
def run_whose_deletion_failed_is_the_last_run(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(S.DELETION_FAILED, "deleted", False)


@_broken
def missing_sizes_are_left_out_of_the_sum(patch: pytest.MonkeyPatch) -> None:
    def sum_known(found: TypeHistory, headers: list[RunHeader]) -> TypeHistory:
        sizes = [header.size_bytes or 0 for header in headers if header.status is S.SUCCESSFUL]
        return replace(found, retained_bytes=sum(sizes) if sizes else None)

    _replace_types(patch, sum_known)


@_broken
def skipped_run_does_not_end_consecutive_failures(patch: pytest.MonkeyPatch) -> None:
    def count_on(found: TypeHistory, headers: list[RunHeader]) -> TypeHistory:
        statuses = [header.status for header in headers]
        since = statuses[: statuses.index(S.SUCCESSFUL)] if S.SUCCESSFUL in statuses else statuses
        return replace(found, consecutive_failures=since.count(S.FAILED))

    _replace_types(patch, count_on)


# Backup plans


def _replace_plan_rule(patch: pytest.MonkeyPatch, finding: Finding, holds: Callable[[Case], bool]) -> None:
    broken = tuple(replace(rule, holds=holds) if rule.finding is finding else rule for rule in PLAN_RULES)
    patch.setattr(assess_module, "PLAN_RULES", broken)


@_broken
def paused_association_protects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AssociationState, "protects", property(lambda state: state.value not in ("INACTIVE", "DELETING")))


@_broken
def only_an_active_association_protects(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(AssociationState, "protects", property(lambda state: state is AssociationState.ACTIVE))


@_broken
def denied_rule_does_not_count_as_failed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(RuleStatus, "failed", property(lambda status: status is RuleStatus.FAILED))


@_broken
def every_rule_has_to_fail(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        return case.plan is not None and bool(case.plan.rules) and len(case.plan.failed_rules) == len(case.plan.rules)

    _replace_plan_rule(patch, Finding.LAST_RUN_FAILED, broken)


@_broken
def oldest_rule_is_the_recovery_point(patch: pytest.MonkeyPatch) -> None:
    def broken(plan: InstancePlan) -> datetime | None:
        return min((rule.last_success for rule in plan.rules if rule.last_success), default=None)

    patch.setattr(InstancePlan, "recovery_point", property(broken))


@_broken
def runs_carry_the_recovery_point_of_a_plan(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> datetime | None:
        return (case.plan.recovery_point if case.plan else None) or case.history.recovery_point

    patch.setattr(Case, "recovery_point", property(broken))


@_broken
def other_rules_apply_to_a_plan(patch: pytest.MonkeyPatch) -> None:
    names = {rule.finding for rule in PLAN_RULES}
    patch.setattr(assess_module, "PLAN_RULES", (*PLAN_RULES, *(rule for rule in RULES if rule.finding not in names)))


@_broken
def unread_plan_is_judged(patch: pytest.MonkeyPatch) -> None:
    _replace_plan_rule(patch, Finding.BACKUPS_DISABLED, lambda case: case.plan is not None and not case.plan.protects)


@_broken
def failed_rule_does_not_end_the_exemption_new(patch: pytest.MonkeyPatch) -> None:
    original = rules._has_conclusive_run

    def broken(case: Case) -> bool:
        return case.recovery_point is not None if case.plan else original(case)

    patch.setattr(rules, "_has_conclusive_run", broken)


@_broken
def plan_is_due_in_the_backup_window(patch: pytest.MonkeyPatch) -> None:
    def broken(
        instance: Instance, past: History, policy: Policy, now: datetime, freshness: Freshness, collected: InstanceFacts
    ) -> Verdict:
        verdict = assess(instance, past, policy, now, freshness, collected)
        return replace(verdict, next_due=verdict.next_due or windows.next_due(instance, past, now))

    patch.setattr(assess_module, "assess", broken)


# Exemptions and states


@_broken
def grace_ends_at_its_value(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        created = case.instance.created
        return created is not None and case.now - created < case.policy.grace

    patch.setattr(Case, "within_grace", property(broken))


@_broken
def revoked_key_does_not_end_the_exemption_suspended(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> Exemption | None:
        suspended = case.instance.state is InstanceState.SUSPENDED
        revoked = SuspensionReason.KMS_KEY_ISSUE in case.instance.suspension_reasons
        return exemption(case) or (Exemption.SUSPENDED if suspended and revoked else None)

    patch.setattr(assess_module, "exemption", broken)


@_broken
def revoked_key_ends_every_exemption(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(assess_module, "exemption", lambda case: None if rules._data_unreadable(case) else exemption(case))


@_broken
def expected_always_overrides_creating(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> Exemption | None:
        return None if case.policy.expected is Expected.ALWAYS else exemption(case)

    patch.setattr(assess_module, "exemption", broken)


@_broken
def expected_always_waits_for_the_grace(patch: pytest.MonkeyPatch) -> None:
    _replace_rule(
        patch, Finding.NEVER_SUCCEEDED, lambda case: case.history.newest_success is None and not case.within_grace
    )


@_broken
def creating_precedes_ignored(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> Exemption | None:
        creating = case.instance.state is InstanceState.PENDING_CREATE
        return Exemption.CREATING if creating else exemption(case)

    patch.setattr(assess_module, "exemption", broken)


@_broken
def failed_run_on_demand_ends_the_exemption_new(patch: pytest.MonkeyPatch) -> None:
    def broken(case: Case) -> bool:
        newest = case.history.of(BackupType.ON_DEMAND).newest_completed
        return bool(newest and newest.status is S.FAILED) or original(case)

    original = rules._has_conclusive_run
    patch.setattr(rules, "_has_conclusive_run", broken)


@_broken
def state_is_that_of_the_mildest_finding(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(assess_module, "RULES", RULES[::-1])


def _replace_verdict(patch: pytest.MonkeyPatch, change: Callable[[Verdict], Verdict]) -> None:
    def broken(
        instance: Instance, past: History, policy: Policy, now: datetime, freshness: Freshness, collected: InstanceFacts
    ) -> Verdict:
        return change(assess(instance, past, policy, now, freshness, collected))

    patch.setattr(assess_module, "assess", broken)


@_broken
def exempt_overrides_unknown(patch: pytest.MonkeyPatch) -> None:
    _replace_verdict(patch, lambda verdict: replace(verdict, state=Protection.EXEMPT) if verdict.exemption else verdict)


@_broken
def unknown_at_its_threshold(patch: pytest.MonkeyPatch) -> None:
    def broken(
        instance: Instance, past: History, policy: Policy, now: datetime, freshness: Freshness, collected: InstanceFacts
    ) -> Verdict:
        earlier = replace(freshness, stale_after=freshness.stale_after - MICROSECOND)
        return assess(instance, past, policy, now, earlier, collected)

    patch.setattr(assess_module, "assess", broken)


@_broken
def unknown_state_has_no_findings(patch: pytest.MonkeyPatch) -> None:
    _replace_verdict(
        patch, lambda verdict: replace(verdict, findings=()) if verdict.state is Protection.UNKNOWN else verdict
    )
