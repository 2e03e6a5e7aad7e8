"""Verdicts as the pages show them: a good one by old facts is not shown as good."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.facts.backup_plans import InstancePlan
from exporter.facts.counters import Counters
from exporter.facts.model import BackupRun, BackupType, PollResult, RunStatus, SuspensionReason
from exporter.facts.packed_runs import PackedRuns
from exporter.facts.snapshot import ProjectStatus
from exporter.verdict.changes import Change
from exporter.verdict.rules import Finding, Protection
from exporter.web.pages.verdicts import (
    ALERTS,
    NEXT_STEPS,
    Badge,
    Loss,
    badge,
    change,
    is_current,
    loss,
    next_step,
    reasons_with_age,
    since,
    step,
    without_success,
)
from grafana.source.runbooks import RUNBOOKS
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, SECOND, run, verdict_on
from tests.web.pages.evaluations import evaluation, only, record, status, statuses

RECORD = record("orders", [run()])


@pytest.mark.parametrize(
    ("project", "current"),
    [
        (status(RECORD), True),
        (status(RECORD, read_at=NOW - 30 * MINUTE), True),
        (status(RECORD, read_at=NOW - 30 * MINUTE - SECOND), False),  # polls no longer end: half of stale_after
        (status(RECORD, result=PollResult.FORBIDDEN, read_at=NOW - MINUTE), False),
        (status(RECORD, result=None, read_at=NOW - MINUTE), False),  # saved before a restart
        (status(RECORD, carried_over={"orders": NOW - MINUTE}), False),  # its region cannot be reached
        (status(RECORD, carried_over={"another": NOW - MINUTE}), True),
    ],
)
def test_facts_are_current_if_the_last_poll_read_them(project: ProjectStatus, current: bool) -> None:
    found = evaluation(project)
    assert is_current(only(found), found, statuses(found)) is current


@pytest.mark.parametrize("state", [Protection.PROTECTED, Protection.EXEMPT])
def test_a_good_state_by_facts_that_are_not_current_has_another_word_icon_and_style(state: Protection) -> None:
    current, old = badge(state), badge(state, current=False)
    assert old == Badge(f"{state} (stale)", "◷", "stale")
    assert current.style == state
    assert current.icon != old.icon


@pytest.mark.parametrize("state", [Protection.AT_RISK, Protection.UNPROTECTED, Protection.UNKNOWN])
def test_a_bad_state_stays_bad_by_facts_that_are_not_current(state: Protection) -> None:
    assert badge(state, current=False) == badge(state)


def test_each_state_has_an_icon_of_its_own() -> None:
    assert len({badge(state).icon for state in Protection}) == len(Protection)


def test_the_loss_is_beyond_the_limit_after_max_age() -> None:
    assert loss(verdict_on(run(ago=30 * HOUR)), NOW) == Loss(30 * HOUR, beyond=False)
    beyond = loss(verdict_on(run(ago=31 * HOUR)), NOW)
    assert (beyond, beyond.text) == (Loss(31 * HOUR, beyond=True), "1d 7h")


def test_everything_is_lost_without_a_backup_or_without_the_key() -> None:
    empty = loss(verdict_on(), NOW)
    assert (empty, empty.text) == (Loss(None, beyond=True), "everything: nothing can be restored")
    revoked = record("orders", [run()], suspension_reasons=(SuspensionReason.KMS_KEY_ISSUE,))
    unreadable = loss(only(evaluation(status(revoked))), NOW)
    assert (unreadable.age, unreadable.text) == (None, "everything, until the key can be used again")


def test_the_change_is_to_unknown_where_polls_fail_before_anything_else() -> None:
    found = evaluation(status(RECORD, result=PollResult.TIMEOUT, read_at=NOW - 10 * MINUTE))
    assert change(only(found), found, current=False) == Change(NOW + 50 * MINUTE, Protection.UNKNOWN)
    assert change(only(found), found, current=True) == Change(NOW + 20 * HOUR, Protection.AT_RISK)


def test_reasons_say_that_the_verdict_is_the_last_known_one() -> None:
    found = evaluation(status(RECORD, result=PollResult.TIMEOUT, read_at=NOW - 10 * MINUTE))
    assert reasons_with_age(only(found), found, current=False) == (
        "not read by the last poll; protected by the last known facts",
    )
    assert reasons_with_age(only(found), found, current=True) == ()
    unknown = evaluation(status(RECORD, result=PollResult.TIMEOUT, read_at=NOW - 2 * HOUR))
    assert reasons_with_age(only(unknown), unknown, current=False) == (
        "last read 2h ago, longer than poll.stale_after; this is the last known verdict",
    )
    assert since(only(unknown), unknown) == NOW - HOUR


def test_the_next_step_is_that_of_the_worst_finding() -> None:
    assert next_step(verdict_on(run(RunStatus.FAILED), run(ago=3 * DAY))) == NEXT_STEPS[Finding.STALE_CRITICAL]
    assert next_step(verdict_on(run())) == ""
    unknown = evaluation(status(RECORD, result=PollResult.TIMEOUT, read_at=NOW - timedelta(hours=2)))
    assert "Exporter" in next_step(only(unknown))


def test_while_the_key_is_revoked_other_steps_wait_for_it() -> None:
    revoked = record("orders", [run(ago=2 * DAY)], suspension_reasons=(SuspensionReason.KMS_KEY_ISSUE,))
    verdict = only(evaluation(status(revoked)))
    assert verdict.findings[:2] == (Finding.DATA_UNREADABLE, Finding.STALE)
    assert next_step(verdict) == NEXT_STEPS[Finding.DATA_UNREADABLE]
    assert step(Finding.STALE, verdict).startswith("When the key can be used again: create a backup now")


CREATED = INSTANCE.created or NOW


@pytest.mark.parametrize(
    ("counters", "runs", "brief"),
    [
        (Counters(CREATED + DAY), [], "never"),
        (Counters(CREATED + DAY), [run(RunStatus.FAILED)], "never"),
        (Counters(CREATED - DAY), [], "never"),  # its clock was behind
        (Counters(CREATED + 31 * HOUR), [], "none known"),
        (Counters(CREATED, forgotten_before=NOW), [], "none known"),
        (Counters(CREATED), [run(RunStatus.DELETED)], "none left"),
        (Counters(CREATED, completed={BackupType.FINAL: {RunStatus.SUCCESSFUL: 1}}), [], "none left"),
        (Counters.initial(PackedRuns.of([run()]).headers(), CREATED), [], "none left"),
        (Counters.initial(PackedRuns.of([run(RunStatus.FAILED)]).headers(), CREATED), [], "never"),
        (Counters(CREATED), [run()], ""),
    ],
)
def test_without_a_backup_it_is_told_whether_there_ever_was_one(
    counters: Counters, runs: list[BackupRun], brief: str
) -> None:
    found, text = without_success(verdict_on(*runs), counters)
    assert (found, text.partition(":")[0]) == (brief, brief)


def test_without_a_backup_by_a_plan_the_counters_of_runs_tell_nothing() -> None:
    verdict = verdict_on()
    by_plan = replace(verdict, collected=replace(verdict.collected, plan=InstancePlan()))
    assert without_success(by_plan, Counters(CREATED))[0] == "none"


def test_never_is_since_the_first_sight_of_the_instance() -> None:
    _, text = without_success(verdict_on(), Counters(CREATED + 2 * HOUR))
    assert text == "never: no backup has succeeded since the exporter first saw the instance, 2h after its creation"


def test_each_finding_has_a_next_step_and_the_runbook_of_its_alert() -> None:
    assert set(NEXT_STEPS) == set(Finding)
    assert {finding: runbook.alert for finding, runbook in RUNBOOKS.items()} == ALERTS
    runbooks = Path(__file__).parents[3] / "docs/runbooks"
    assert {alert for alert in ALERTS.values() if not (runbooks / f"{alert}.md").is_file()} == set()
