"""The verdict on every scenario of the simulator. Their series are in golden/scenarios/."""

from datetime import timedelta

import pytest

from exporter.facts.model import BackupType
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.timeline import scheduled_start
from exporter.simulator.worlds import Project, World
from exporter.verdict.assess import Verdict
from exporter.verdict.rules import Exemption, Finding, Protection
from tests.support.builders import NOW, config, world
from tests.support.expositions import evaluate_world

F = Finding
PROTECTED, EXEMPT = Protection.PROTECTED, Protection.EXEMPT
AT_RISK, UNPROTECTED = Protection.AT_RISK, Protection.UNPROTECTED

VERDICTS: dict[str, tuple[Protection, tuple[Finding, ...], Exemption | None]] = {
    "healthy": (PROTECTED, (), None),
    "idle": (PROTECTED, (), None),
    "failing": (UNPROTECTED, (F.STALE_CRITICAL, F.STALE, F.LAST_RUN_FAILED), None),
    "failing-uncoded": (AT_RISK, (F.STALE, F.LAST_RUN_FAILED), None),
    "flapping": (PROTECTED, (), None),
    "retried": (PROTECTED, (), None),
    "overdue": (AT_RISK, (F.OVERDUE,), None),
    "missed": (AT_RISK, (F.OVERDUE,), None),
    "running": (PROTECTED, (), None),
    "running-after-failure": (AT_RISK, (F.STALE, F.LAST_RUN_FAILED), None),
    "stuck": (AT_RISK, (F.STALE, F.STUCK), None),
    "slow": (AT_RISK, (F.SLOW,), None),
    "stale": (AT_RISK, (F.STALE, F.OVERDUE), None),
    "abandoned": (UNPROTECTED, (F.STALE_CRITICAL, F.STALE, F.OVERDUE), None),
    "never": (UNPROTECTED, (F.NEVER_SUCCEEDED, F.OVERDUE), None),
    "brand-new": (EXEMPT, (), Exemption.NEW),
    "created-in-window": (EXEMPT, (), Exemption.NEW),
    "disabled": (UNPROTECTED, (F.BACKUPS_DISABLED, F.STALE_CRITICAL, F.STALE), None),
    "on-demand-only": (UNPROTECTED, (F.BACKUPS_DISABLED,), None),
    "deleted": (UNPROTECTED, (F.STALE_CRITICAL, F.STALE), None),
    "vanished": (AT_RISK, (F.STALE, F.OVERDUE), None),
    "unscheduled": (AT_RISK, (F.OVERDUE,), None),
    "pitr-enabled": (PROTECTED, (), None),
    "key-revoked": (UNPROTECTED, (F.DATA_UNREADABLE,), None),
    "disk-full": (PROTECTED, (), None),
    "deletion-unguarded": (PROTECTED, (), None),
    "backups-retained": (PROTECTED, (), None),
    "final-backup": (PROTECTED, (), None),
    "deleting": (PROTECTED, (), None),
    "stopped": (EXEMPT, (), Exemption.STOPPED),
    "suspended": (EXEMPT, (), Exemption.SUSPENDED),
    "creating": (EXEMPT, (), Exemption.CREATING),
    "replica": (EXEMPT, (), Exemption.READ_REPLICA),
    "read-pool": (EXEMPT, (), Exemption.READ_POOL),
    "external": (EXEMPT, (), Exemption.EXTERNAL),
    "green": (EXEMPT, (), Exemption.GREEN),
    **{name: (EXEMPT, (), Exemption.MANAGED_ELSEWHERE) for name in SCENARIOS if name.startswith("enhanced")},
    "high-availability": (PROTECTED, (), None),
}

# The same with `collect.backup_dr`.
PLAN_VERDICTS: dict[str, tuple[Protection, tuple[Finding, ...], Exemption | None]] = {
    "enhanced": (PROTECTED, (), None),
    "enhanced-failing": (AT_RISK, (F.LAST_RUN_FAILED,), None),
    "enhanced-denied": (AT_RISK, (F.STALE, F.LAST_RUN_FAILED), None),
    "enhanced-new": (EXEMPT, (), Exemption.NEW),
    "enhanced-never": (UNPROTECTED, (F.NEVER_SUCCEEDED,), None),
    "enhanced-paused": (UNPROTECTED, (F.BACKUPS_DISABLED, F.STALE_CRITICAL, F.STALE), None),
    "enhanced-unplanned": (UNPROTECTED, (F.BACKUPS_DISABLED, F.NEVER_SUCCEEDED), None),
    "enhanced-reused": (UNPROTECTED, (F.BACKUPS_DISABLED, F.NEVER_SUCCEEDED), None),
}


def world_of(name: str) -> World:
    return world({"museum": Project({name: SCENARIOS[name]})})


def only_verdict(museum: World) -> Verdict:
    (verdict,) = evaluate_world(museum).verdicts
    return verdict


def test_every_scenario_has_an_expected_verdict() -> None:
    assert VERDICTS.keys() == SCENARIOS.keys()


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_verdict_on_scenario(name: str) -> None:
    verdict = only_verdict(world_of(name))
    assert (verdict.state, verdict.findings, verdict.exemption) == VERDICTS[name]


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_verdict_on_scenario_with_backup_plans(name: str) -> None:
    (verdict,) = evaluate_world(world_of(name), config(collect={"backup_dr": True})).verdicts
    assert (verdict.state, verdict.findings, verdict.exemption) == (VERDICTS | PLAN_VERDICTS)[name]
    if name in PLAN_VERDICTS:
        assert verdict.recovery_point_source == ("vault" if verdict.recovery_point else None)
        assert verdict.next_due is None


def test_flapping_scenario_fails_one_night_and_recovers_the_next() -> None:
    museum = world_of("flapping")
    states = []
    for _day in range(4):
        verdict = only_verdict(museum)
        states.append((F.LAST_RUN_FAILED in verdict.findings, verdict.state))
        museum.clock.advance(timedelta(days=1))  # type: ignore[attr-defined] # the clock of `world` is a simulated one
    assert states == [(False, PROTECTED), (True, AT_RISK), (False, PROTECTED), (False, PROTECTED)]


def test_retries_within_a_window_are_one_run_that_finally_succeeds() -> None:
    museum = world_of("retried")
    observed = []
    for minutes in (16 * 60 + 10, 4, 2, 3, 70, 2, 7):  # from 04:10 to 05:48 of the next window
        museum.clock.advance(timedelta(minutes=minutes))  # type: ignore[attr-defined] # as above
        newest = only_verdict(museum).history.of(BackupType.AUTOMATED).newest
        assert newest
        observed.append((newest.id, newest.status.value))
    first, second = (
        str(round(scheduled_start("retried", NOW.replace(day=day, hour=4)).timestamp() * 1000)) for day in (23, 24)
    )
    assert observed == [
        (first, "SUCCESSFUL"),
        (second, "RUNNING"),
        (second, "FAILED"),
        (second, "FAILED"),
        (second, "FAILED"),
        (second, "RUNNING"),
        (second, "SUCCESSFUL"),
    ]
