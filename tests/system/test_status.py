"""`status` as a process: exit codes, streams, filters, and watching."""

import csv
import io
import json
import os
import pty
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.runtime import system_clock
from exporter.simulator import WORLDS, Fault, SimulatedClock, Simulator, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.verdict.rules import Protection
from tests.support.builders import eventually
from tests.support.processes import COMMAND, lines_of, run
from tests.system.test_commands import config_flag
from tests.verdict.test_scenarios import VERDICTS

FORMATS = ("table", "json", "csv", "markdown")
GRANT = "gcloud projects add-iam-policy-binding sealed --member=MEMBER --role=roles/cloudsql.viewer --condition=None"
STATES = ["unprotected", "unknown", "at_risk", "protected", "exempt"]


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated API of the demo world at the current time, as the exporter's process sees it."""
    with Simulator(World(WORLDS["demo"](), SimulatedClock(system_clock()))) as simulator:
        yield simulator


def rows(output: str, text: str) -> list[dict[str, str]]:
    """The rows of an output format, each at least with state, project, instance_id, findings and reasons."""
    match output:
        case "json":
            return [
                {**row, "findings": "; ".join(row["findings"]), "reasons": "; ".join(row["reasons"])}
                for row in json.loads(text)["instances"]
            ]
        case "csv":
            return list(csv.DictReader(io.StringIO(text, newline=""), strict=True))
        case _:
            header, _, *lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
            return [dict(zip(header, line, strict=True)) for line in lines]


@pytest.mark.parametrize("output", FORMATS[1:])
def test_machine_formats_are_worst_first_and_have_data_only_on_stdout(
    simulator: Simulator, tmp_path: Path, output: str
) -> None:
    result = run("status", config_flag(tmp_path, simulator, "shop-prod", "museum", "sealed"), f"--output={output}")
    listed = rows(output, result.stdout)
    positions = [STATES.index(row["state"]) for row in listed]
    assert positions == sorted(positions)
    assert len(listed) == len(SCENARIOS) + 9
    failing = next(row for row in listed if row["instance_id"] == "failing")
    assert (failing["project"], failing["findings"]) == ("museum", "stale_critical; stale; last_run_failed")
    assert failing["reasons"].replace("\\", "").endswith("the last automated run failed: DISK_SNAPSHOT_FAILED")
    assert (result.returncode, GRANT in result.stdout, GRANT in result.stderr) == (3, False, True)
    assert result.stderr.startswith("error: instances.list of project 'sealed': 403 ")


def test_table_is_followed_by_missing_permissions_and_totals(simulator: Simulator, tmp_path: Path) -> None:
    result = run("status", config_flag(tmp_path, simulator, "museum", "sealed"))
    lines = result.stdout.splitlines()
    start = lines.index("Missing permissions:")
    assert lines[start + 1 : start + 3] == ["  sealed: cloudsql.instances.list", f"    {GRANT}"]
    assert re.fullmatch(r"\d+ unprotected, \d+ at risk, \d+ protected, \d+ exempt", lines[-1])
    assert (result.returncode, len(result.stderr.splitlines())) == (3, 1)


def test_denied_listing_of_runs_names_its_permission(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault("forbidden", method="backupRuns.list", project="shop-prod"))
    result = run("status", config_flag(tmp_path, simulator, "shop-prod"))
    assert (result.returncode, "  shop-prod: cloudsql.backupRuns.list" in result.stdout) == (3, True)


@pytest.mark.parametrize(
    ("flags", "code", "states"),
    [
        (["--project=shop-prod"], 0, {"protected", "exempt"}),
        (["--project=museum"], 1, {"unprotected", "at_risk", "protected", "exempt"}),
        (["--project=museum", "--only=protected"], 0, {"protected"}),
        (["--project=museum", "--only=protected,exempt"], 0, {"protected", "exempt"}),
        (["--project=museum", "--only=at_risk"], 1, {"at_risk"}),
        (["--project=museum", "--only", "at_risk, unprotected", "--only=unknown"], 1, {"at_risk", "unprotected"}),
        (["--project=museum", "--project=shop-prod", "--only=unknown"], 0, set()),
        (["--project=sealed"], 3, set()),
        (["--project=sealed", "--only=protected"], 3, set()),
        (["--project=nosuch"], 3, set()),
        (["--only=protected"], 3, {"protected"}),
        ([], 3, {"unprotected", "at_risk", "protected", "exempt"}),
    ],
)
def test_exit_code_follows_the_selected_projects_and_the_rows(
    simulator: Simulator, tmp_path: Path, flags: list[str], code: int, states: set[str]
) -> None:
    flag = config_flag(tmp_path, simulator, "museum", "sealed", "shop-prod")
    result = run("status", flag, "--output=json", *flags)
    assert (result.returncode, {row["state"] for row in rows("json", result.stdout)}) == (code, states)


def test_unreadable_region_of_another_project_does_not_matter(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault("unreachable-region", project="museum"))
    flag = config_flag(tmp_path, simulator, "museum", "shop-prod")
    assert run("status", flag).returncode == 3
    assert run("status", flag, "--project=museum", "--only=protected").returncode == 3
    other = run("status", flag, "--project=shop-prod")
    assert (other.returncode, other.stderr) == (0, "")


def test_project_that_no_target_names_is_reported(simulator: Simulator, tmp_path: Path) -> None:
    result = run("status", config_flag(tmp_path, simulator, "museum"), "--project=musem", "--output=csv")
    assert (result.returncode, lines_of(result.stderr)) == (3, ["error: project musem: no target names or finds it"])
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("words", ["bogus", "", "at_risk,", "at_risk,AT_RISK", "at-risk"])
def test_unknown_state_is_refused_with_those_that_exist(words: str) -> None:
    result = run("status", f"--only={words}")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[-1].endswith(f"; the states are {', '.join(STATES)}")


def test_project_without_instances_is_an_empty_result(tmp_path: Path) -> None:
    with Simulator(World({"empty": Project()}, SimulatedClock(system_clock()))) as simulator:
        flag = config_flag(tmp_path, simulator, "empty")
        results = {output: run("status", flag, f"--output={output}") for output in FORMATS}
    assert {result.returncode for result in results.values()} == {0}
    assert lines_of(results["table"].stdout)[1:] == ["no instances: check targets"]
    assert json.loads(results["json"].stdout)["instances"] == []
    assert (len(results["csv"].stdout.splitlines()), len(results["markdown"].stdout.splitlines())) == (1, 2)


@pytest.mark.parametrize("output", FORMATS)
def test_hostile_names_from_the_api_do_not_reach_the_terminal(tmp_path: Path, output: str) -> None:
    names = ("\x1b]0;title\x07", "\u202egnp", "a|b", "ünï")
    scenarios = {**dict.fromkeys(names, SCENARIOS["healthy"])}
    with Simulator(World({"museum": Project(scenarios)}, SimulatedClock(system_clock()))) as simulator:
        flag = config_flag(tmp_path, simulator, "museum")
        result = run("status", flag, f"--output={output}", PYTHONIOENCODING="ascii")
    assert (result.returncode, lines_of(result.stderr)) == (0, [])
    assert result.stdout.replace("\n", "").replace("\r", "").isprintable()
    assert result.stdout.isascii()


@pytest.mark.parametrize("arguments", [("status",), ("status", "--output=csv", "--watch"), ("check",)])
def test_closed_pipe_ends_the_command_silently(
    simulator: Simulator, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [*COMMAND, *arguments, config_flag(tmp_path, simulator, "museum", more="poll: {interval: 100ms}")]
    try:
        result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False)
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (128 + signal.SIGPIPE, b"")


def _accept_interrupts() -> None:
    """Undo what a shell sets for the jobs in its background, and so for the tests that it runs there.

    Runs between fork and exec, where it takes no lock.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_watch_prints_at_every_interval_until_ctrl_c(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "museum", more="poll: {interval: 100ms}")
    out, errors = tmp_path / "out", tmp_path / "errors"
    with out.open("w") as stdout, errors.open("w") as stderr:
        command = [*COMMAND, "status", flag, "--watch", "--output=csv", "--only=at_risk"]
        process = subprocess.Popen(command, stdout=stdout, stderr=stderr, preexec_fn=_accept_interrupts)  # noqa: PLW1509 (it takes no lock)
        try:
            assert eventually(lambda: out.read_text().count("state,project,") >= 3)
            simulator.faults.add(Fault("forbidden"))
            assert eventually(lambda: "gcloud projects add-iam-policy-binding museum" in errors.read_text())
            process.send_signal(signal.SIGINT)
            code = process.wait(10)
        finally:
            process.kill()
            process.wait()
    assert code == 3  # of the last poll
    at_risk = sum(state is Protection.AT_RISK for state, *_ in VERDICTS.values())
    assert "Traceback" not in errors.read_text()
    assert out.read_text().rsplit("state,project,", 1)[1].count("at_risk,museum,") == at_risk  # as last known


def test_watch_redraws_a_terminal(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "shop-prod", more="poll: {interval: 100ms}")
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "NO_COLOR": "1"}
    process = subprocess.Popen(
        [*COMMAND, "status", flag, "--watch"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=environment,
        preexec_fn=_accept_interrupts,  # noqa: PLW1509 (it takes no lock)
    )
    os.close(slave)
    shown = ""
    try:
        while shown.count("\x1b[H") < 3:  # ends with the process, at the latest
            shown += os.read(master, 65536).decode()
        process.send_signal(signal.SIGINT)
        code = process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(master)
    assert code == 0
    assert "8 protected, 1 exempt" in shown
    assert "Press Ctrl-C to stop." in shown
