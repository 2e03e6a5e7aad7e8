"""`check` prints what the development guidelines of the Monitoring Plugins require."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cli.check import MAX_DETAILS, ServiceState, plugin_text, render, service_state
from exporter.cli.main import main
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.verdict import summary
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Protection
from tests.support.builders import verdict_on, world
from tests.support.expositions import evaluate_world
from tests.support.plugins import PerformanceValue, parse_output


def evaluation_of(**scenarios: str) -> Evaluation:
    return evaluate_world(world({"museum": Project({name: SCENARIOS[kind] for name, kind in scenarios.items()})}))


def output(evaluation: Evaluation, *unread: str) -> str:
    verdicts = summary.worst_first(evaluation)
    return render(service_state(verdicts, unread), verdicts, unread, evaluation)


@pytest.mark.parametrize("states", list(product([False, True], repeat=5)))
@pytest.mark.parametrize("unread", [(), ("project sealed: forbidden",)])
def test_first_state_that_applies_wins(states: tuple[bool, ...], unread: tuple[str, ...]) -> None:
    present = [state for state, is_present in zip(Protection, states, strict=True) if is_present]
    verdicts = [verdict_in(state) for state in present]
    if Protection.UNPROTECTED in present:
        expected = ServiceState.CRITICAL
    elif Protection.UNKNOWN in present or unread or not present:
        expected = ServiceState.UNKNOWN
    elif Protection.AT_RISK in present:
        expected = ServiceState.WARNING
    else:
        expected = ServiceState.OK
    assert service_state(verdicts, unread) is expected


def verdict_in(state: Protection) -> Verdict:
    return replace(verdict_on(), state=state)


def test_exit_codes_are_those_of_the_guidelines() -> None:
    assert {state.name: int(state) for state in ServiceState} == {"OK": 0, "WARNING": 1, "CRITICAL": 2, "UNKNOWN": 3}


def test_output_has_counts_with_thresholds_and_names_the_worst_instance() -> None:
    parsed = parse_output(output(evaluation_of(a="healthy", b="missed", c="failing", d="replica")))
    assert parsed.text == (
        "CLOUDSQL BACKUPS CRITICAL: 1 unprotected, 1 at risk, 1 protected, 1 exempt; worst: museum/c is unprotected: "
        "a restore would lose 3d 7h, more than critical_age (2d 6h); the last automated run failed: "
        "DISK_SNAPSHOT_FAILED"
    )
    assert parsed.performance == {
        "unprotected": PerformanceValue("1", "", "", "0", "0", "4"),
        "unknown": PerformanceValue("0", "", "", "", "0", "4"),
        "at_risk": PerformanceValue("1", "", "0", "", "0", "4"),
        "protected": PerformanceValue("1", "", "", "", "0", "4"),
        "exempt": PerformanceValue("1", "", "", "", "0", "4"),
    }
    assert [line.partition(" is ")[0] for line in parsed.details] == ["museum/c", "museum/b"]


def test_single_instance_has_the_age_of_its_recovery_point_with_the_thresholds_of_its_policy() -> None:
    parsed = parse_output(output(evaluation_of(orders="healthy")))
    assert re.fullmatch(r"CLOUDSQL BACKUPS OK: museum/orders is protected: recovery point 7h \d+m ago", parsed.text)
    age = parsed.performance["recovery_point_age"]
    assert (age.unit, age.warning, age.critical, age.minimum) == ("s", "108000", "194400", "0")
    assert 7 * 3600 < int(age.value) < 8 * 3600
    assert parsed.details == []


def test_exempt_instance_has_no_thresholds_and_one_without_recovery_point_no_age() -> None:
    stopped = parse_output(output(evaluation_of(a="stopped")))
    assert stopped.text == "CLOUDSQL BACKUPS OK: museum/a is exempt: stopped by its owner"
    assert (stopped.performance["recovery_point_age"].warning, stopped.performance["recovery_point_age"].critical) == (
        "",
        "",
    )
    assert "recovery_point_age" not in parse_output(output(evaluation_of(a="never"))).performance


def test_unread_projects_are_in_the_first_line_and_the_details() -> None:
    problem = "instances.list of project 'sealed': 403 no | way\nreally; grant it"
    shown = "instances.list of project 'sealed': 403 no ? way?really; grant it"
    parsed = parse_output(output(evaluation_of(a="healthy"), problem))
    assert parsed.text.startswith("CLOUDSQL BACKUPS UNKNOWN: museum/a is protected: recovery point")
    assert parsed.text.endswith(f"; {shown}")
    assert parsed.details == [shown]
    critical = parse_output(output(evaluation_of(a="never"), problem))
    assert critical.text.endswith("; not everything could be read")
    assert critical.details == [shown]


def test_nothing_matches() -> None:
    assert parse_output(output(evaluation_of())).text == "CLOUDSQL BACKUPS UNKNOWN: no instance matches"


def test_details_of_a_large_fleet_are_limited() -> None:
    names = {f"n{number:03}": "never" for number in range(MAX_DETAILS + 5)}
    details = parse_output(output(evaluation_of(**names))).details
    assert (len(details), details[-1]) == (MAX_DETAILS + 1, "and 5 more")


@given(st.text(min_size=1))
def test_hostile_names_stay_within_their_line(name: str) -> None:
    evaluation = evaluate_world(
        world({"museum": Project({name: SCENARIOS["never"], f"{name}-b": SCENARIOS["missed"]})})
    )
    parsed = parse_output(output(evaluation))
    assert parsed.performance.keys() == {"unprotected", "unknown", "at_risk", "protected", "exempt"}
    assert len(parsed.details) == 2


def test_internal_error_is_unknown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An uncaught exception would end Python with 1, which means WARNING."""
    (tmp_path / "c.yaml").write_text("cloudsql: {credentials: anonymous}\ntargets: [{project: p}]\n")
    monkeypatch.setattr("exporter.cli.check.open_exporter", lambda *_arguments: None)
    code = main(["check", f"--config.file={tmp_path / 'c.yaml'}"])
    text = parse_output(capsys.readouterr().out).text
    assert code == 3
    assert text.startswith("CLOUDSQL BACKUPS UNKNOWN: internal error, please report it: AttributeError")


@given(st.text())
def test_plugin_text_is_printable_and_has_no_pipe(text: str) -> None:
    shown = plugin_text(text)
    assert len(shown) == len(text)
    assert "|" not in shown
    assert all(character.isprintable() for character in shown)
