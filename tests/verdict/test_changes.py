"""When the state of a verdict began, and when it changes next."""

from dataclasses import replace
from datetime import datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config import Expected, Policy
from exporter.facts.history import history
from exporter.facts.model import BackupRun, BackupType, InstanceState, RunStatus
from exporter.verdict.assess import Freshness, Verdict, assess
from exporter.verdict.changes import Change, began, change_without_polls, next_change
from exporter.verdict.rules import RESOLUTION, Protection
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, SETTINGS, run, verdict_on
from tests.verdict.random_cases import random_case

WINDOW_CLOSES = datetime(2026, 11, 24, 8, tzinfo=NOW.tzinfo)  # the next one after NOW; a window opens at 04:00
NO_WINDOW = replace(INSTANCE, backups=replace(SETTINGS, window_start=None))
FRESH = Freshness(NOW, HOUR)


def test_a_protected_instance_turns_at_risk_when_the_next_window_closes_without_a_run() -> None:
    assert next_change(verdict_on(run()), NOW) == Change(WINDOW_CLOSES, Protection.AT_RISK)


def test_a_protected_instance_without_a_known_window_turns_at_risk_beyond_max_age() -> None:
    verdict = verdict_on(run(), instance=NO_WINDOW)
    assert next_change(verdict, NOW) == Change(NOW + 22 * HOUR + RESOLUTION, Protection.AT_RISK)


def test_an_instance_at_risk_turns_unprotected_beyond_critical_age() -> None:
    verdict = verdict_on(run(RunStatus.FAILED), run(ago=32 * HOUR))
    assert verdict.state is Protection.AT_RISK
    assert next_change(verdict, NOW) == Change(NOW + 22 * HOUR + RESOLUTION, Protection.UNPROTECTED)


def test_a_new_instance_turns_unprotected_at_the_end_of_its_grace() -> None:
    verdict = verdict_on(instance=replace(NO_WINDOW, created=NOW - HOUR))
    assert verdict.state is Protection.EXEMPT
    assert next_change(verdict, NOW) == Change(NOW + 29 * HOUR + RESOLUTION, Protection.UNPROTECTED)


@pytest.mark.parametrize(
    "verdict",
    [
        verdict_on(),  # unprotected: it cannot get worse
        verdict_on(run(), policy=Policy(expected=Expected.NEVER)),
        verdict_on(run(), instance=replace(INSTANCE, state=InstanceState.SUSPENDED)),
        assess(INSTANCE, history([run()]), Policy(), NOW, Freshness(NOW - 2 * HOUR, HOUR)),  # unknown
        verdict_on(run(), instance=NO_WINDOW, policy=Policy.model_validate({"max_age": "62d", "critical_age": "62d"})),
    ],
)
def test_without_a_foreseeable_change_there_is_none(verdict: Verdict) -> None:
    assert next_change(verdict, NOW) is None


@given(st.randoms(use_true_random=False))
def test_the_state_is_the_same_until_the_change_and_another_one_then(random: Random) -> None:
    case = random_case(random)
    now = case.now
    verdict = assess(case.instance, history(case.runs), case.policy, now)
    change = next_change(verdict, now)
    end = change.at if change else now + 5 * DAY

    def state(at: datetime) -> Protection:
        return assess(verdict.instance, verdict.history, verdict.policy, at).state

    if change:
        assert state(change.at) is change.state is not verdict.state
    if change or verdict.state is not Protection.UNPROTECTED:
        times = [now + (end - RESOLUTION - now) * share / 8 for share in range(9)]
        assert {state(at) for at in times} == {verdict.state}


def test_without_polls_the_state_becomes_unknown_when_the_facts_are_too_old() -> None:
    assert change_without_polls(verdict_on(run()), Freshness(NOW - MINUTE, HOUR)) == Change(
        NOW + 59 * MINUTE, Protection.UNKNOWN
    )


FAILED = RunStatus.FAILED
DISABLED = replace(INSTANCE, backups=replace(SETTINGS, enabled=False))


@pytest.mark.parametrize(
    ("verdict", "expected"),
    [
        (verdict_on(run()), None),  # protected
        (verdict_on(run(), instance=DISABLED), None),  # the API does not tell when backups were disabled
        (verdict_on(run(ago=56 * HOUR)), NOW - 2 * HOUR),  # beyond critical_age
        (verdict_on(run(ago=31 * HOUR), instance=NO_WINDOW), NOW - HOUR),  # beyond max_age
        (verdict_on(run(FAILED), run(ago=32 * HOUR)), NOW - 8 * HOUR + 7 * MINUTE),  # the end of the failed run
        (verdict_on(run(FAILED, 4 * HOUR), run(FAILED, 8 * HOUR), run(ago=20 * HOUR)), NOW - 8 * HOUR + 7 * MINUTE),
        (
            verdict_on(run(ago=32 * HOUR), policy=Policy.model_validate({"max_age": "40h"})),
            NOW - 4 * HOUR,
        ),  # the window closed at 08:00
        (verdict_on(instance=replace(INSTANCE, created=NOW - 40 * HOUR)), NOW - 10 * HOUR),  # the end of its grace
        (verdict_on(policy=Policy(expected=Expected.ALWAYS)), INSTANCE.created),
        (verdict_on(run(RunStatus.RUNNING, 8 * HOUR), run(ago=12 * HOUR)), NOW - 2 * HOUR),  # stuck beyond 6 h
        (verdict_on(run(took=7 * HOUR)), NOW - HOUR),  # slow, when it ended
    ],
)
def test_the_state_began_when_its_first_finding_did(verdict: Verdict, expected: datetime | None) -> None:
    assert began(verdict, NOW, FRESH) == expected


def test_an_unknown_state_began_when_the_facts_became_too_old() -> None:
    freshness = Freshness(NOW - 3 * HOUR, HOUR)
    verdict = assess(INSTANCE, history([run()]), Policy(), NOW, freshness)
    assert began(verdict, NOW, freshness) == NOW - 2 * HOUR


def test_a_run_on_demand_that_failed_is_no_beginning() -> None:
    manual: BackupRun = run(FAILED, 2 * HOUR, kind=BackupType.ON_DEMAND)
    verdict = verdict_on(manual, run(FAILED), run(ago=32 * HOUR))
    assert began(verdict, NOW, FRESH) == NOW - 8 * HOUR + timedelta(minutes=7)
