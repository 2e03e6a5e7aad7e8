"""An evaluation as rows is worst first."""

from exporter.simulator import WORLDS
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.verdict import summary
from exporter.verdict.rules import WORST_FIRST, Protection
from tests.support.builders import DAY, HOUR, NOW, world
from tests.support.expositions import evaluate_world


def test_rows_are_worst_first() -> None:
    positions = [WORST_FIRST.index(row.state) for row in summary.rows(evaluate_world(world(WORLDS["demo"]())))]
    assert positions == sorted(positions)
    assert len(set(positions)) == 4


def test_worse_finding_comes_first_within_a_state_then_project_and_name() -> None:
    names = ("slow", "disabled", "failing", "never", "missed")
    projects = {"b": Project({name: SCENARIOS[name] for name in names}), "a": Project({"z": SCENARIOS["never"]})}
    assert [(row.project, row.instance) for row in summary.rows(evaluate_world(world(projects)))] == [
        ("b", "disabled"),  # backups_disabled
        ("a", "z"),  # never_succeeded
        ("b", "never"),
        ("b", "failing"),  # stale_critical
        ("b", "missed"),  # overdue
        ("b", "slow"),
    ]


def test_states_limit_the_rows() -> None:
    evaluation = evaluate_world(world(WORLDS["demo"]()))
    rows = summary.rows(evaluation, (Protection.AT_RISK, Protection.UNKNOWN))
    assert {row.state for row in rows} == {Protection.AT_RISK}
    assert len(rows) == summary.totals(evaluation)[Protection.AT_RISK]


def test_age_of_the_recovery_point_is_in_seconds_and_null_without_one() -> None:
    evaluation = evaluate_world(world({"museum": Project({name: SCENARIOS[name] for name in ("healthy", "never")})}))
    never, healthy = summary.rows(evaluation)
    assert (never.age, never.age_seconds) == ("", None)
    assert healthy.recovery_point
    assert healthy.age_seconds == round((NOW - healthy.recovery_point).total_seconds())


def test_deleted_instances_whose_last_backup_expires_within_three_days_are_named_by_expiry() -> None:
    found = summary.expiring_soon(evaluate_world(world(WORLDS["demo"]())))
    assert [(of.id.name, of.last_expiry) for of in found] == [
        ("former-dated", NOW + DAY),
        ("former-final", NOW + 2 * DAY),
        ("vouchers", NOW + 2 * DAY + 15 * HOUR),
    ]
