"""The commands as processes: exit codes, error messages, signals, and a clean start and stop."""

import json
import signal
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter import __version__
from exporter.runtime import system_clock
from exporter.simulator import WORLDS, Fault, SimulatedClock, Simulator, World
from exporter.verdict.rules import WORST_FIRST, Protection
from tests.cli.test_help import COMMANDS
from tests.support.builders import eventually
from tests.support.processes import exporter, fetch, is_up, run
from tests.verdict.test_scenarios import VERDICTS


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated API of the demo world at the current time, as the exporter's process sees it."""
    with Simulator(World(WORLDS["demo"](), SimulatedClock(system_clock()))) as simulator:
        yield simulator


def config_flag(folder: Path, simulator: Simulator, *projects: str, more: str = "") -> str:
    """Write a configuration file with these projects; the flag that names it."""
    lines = [
        f"cloudsql: {{endpoint: '{simulator.url}', credentials: anonymous, requests_per_minute: 60000}}",
        "targets:",
    ]
    lines += [f"  - project: {project}" for project in projects]
    lines += ["collect: {recovery_times: true}", f"state: {{path: '{folder / 'data'}'}}"]
    (folder / "config.yaml").write_text("\n".join([*lines, more, ""]))
    return f"--config.file={folder / 'config.yaml'}"


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_every_command_has_version_and_help(command: str) -> None:
    arguments = [command] if command else []
    assert run(*arguments, "--version").stdout == f"cloudsql-backup-exporter {__version__}\n"
    result = run(*arguments, "--help")
    assert (result.returncode, "usage: cloudsql-backup-exporter" in result.stdout) == (0, True)


@pytest.mark.parametrize(
    "arguments",
    [["--no.such.flag"], ["serv"], ["--web.listen", "x"], ["demo", "--speed=fast"], ["--web.listen-address=x"]],
)
def test_invalid_flag_exits_with_2(arguments: list[str]) -> None:
    result = run(*arguments)
    assert result.returncode == 2
    assert "usage: cloudsql-backup-exporter" in result.stderr


@pytest.mark.parametrize("command", [[], ["serve"], ["check-config"], ["once"], ["status"], ["report"]])
def test_missing_configuration_exits_with_2_and_one_line(command: list[str], tmp_path: Path) -> None:
    result = run(*command, f"--config.file={tmp_path / 'none.yaml'}")
    hint = "no such file; name one with --config.file, or start from config.example.yaml"
    assert (result.returncode, result.stderr) == (2, f"error: {tmp_path / 'none.yaml'}: {hint}\n")


def test_check_config_lists_each_problem_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("targets:\n  - projet: p\npoll:\n  interval: 5\n")
    result = run("check-config", f"--config.file={file}")
    assert (result.returncode, result.stderr.splitlines()) == (
        2,
        [
            f"error: {file}:2: targets[0].project: is required",
            f"error: {file}:2: targets[0].projet: unknown key; did you mean project?",
            f"error: {file}:4: poll.interval: must be a duration such as 90s, 5m, 26h, 7d or 1h30m; did you mean 5s?",
        ],
    )
    file.write_text("targets:\n  - project: p\n")
    result = run("check-config", f"--config.file={file}")
    assert (result.returncode, result.stdout) == (0, f"{file}: OK, 1 target, 0 policies\n")


def test_missing_credentials_exit_with_1_and_one_line(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("targets: [{project: p}]\n")
    missing = tmp_path / "none.json"
    result = run(f"--config.file={file}", f"--state.path={tmp_path}", GOOGLE_APPLICATION_CREDENTIALS=str(missing))
    reason = f"the application default credentials cannot be used: File {missing} was not found; check {missing}, "
    assert result.returncode == 1
    assert result.stderr.startswith(f"error: {reason}")
    assert len(result.stderr.splitlines()) == 1


def test_port_in_use_exits_with_1_and_one_line(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "museum")
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = run("serve", flag, f"--web.listen-address={address}")
        simulated = run("simulate", f"--web.listen-address={address}")
    reason = "another process listens there; stop it, or choose another port with --web.listen-address"
    assert (result.returncode, result.stderr) == (1, f"error: cannot listen on {address}: {reason}\n")
    assert (simulated.returncode, len(simulated.stderr.splitlines())) == (1, 1)


def test_simulator_listens_on_loopback_only() -> None:
    result = run("simulate", "--web.listen-address=0.0.0.0:0")
    assert (result.returncode, "loopback only" in result.stderr) == (1, True)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_exporter_within_a_second_during_a_poll(
    number: signal.Signals, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults.add(Fault("slow", seconds=25))
    with exporter(config_flag(tmp_path, simulator, "museum"), log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/healthy"))
        assert eventually(lambda: bool(simulator.requests))
        running.send(number)
        code, seconds = running.wait()
    assert (code, seconds < 2) == (0, True)  # one second is promised; the second one allows for a busy machine
    assert "Traceback" not in running.stderr()


def test_sighup_reloads_a_valid_file_and_rejects_an_invalid_one(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "museum")
    with exporter(flag, log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        (tmp_path / "config.yaml").write_text("targets: 3\n")
        running.send(signal.SIGHUP)
        assert eventually(lambda: running.metric("cloudsql_backup_exporter_config_last_reload_successful") == 0)
        assert running.metric("cloudsql_backup_exporter_project_up", project="museum") == 1
        assert "config.yaml:1: targets: must be a list" in running.stderr()
        config_flag(tmp_path, simulator, "shop-prod")
        running.send(signal.SIGHUP)
        assert eventually(lambda: running.metric("cloudsql_backup_exporter_project_up", project="shop-prod") == 1)
        assert running.metric("cloudsql_backup_exporter_project_up", project="museum") is None
        assert running.metric("cloudsql_backup_exporter_config_last_reload_successful") == 1
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 0


def test_logs_are_json_on_request(simulator: Simulator, tmp_path: Path) -> None:
    with exporter(config_flag(tmp_path, simulator, "sealed"), "--log.format=json", log=tmp_path / "log") as running:
        assert eventually(lambda: "forbidden" in running.stderr())
    lines = [json.loads(line) for line in running.stderr().splitlines()]
    entry = next(line for line in lines if line.get("result") == "forbidden")
    assert (entry["level"], entry["project"]) == ("error", "sealed")
    assert "grant cloudsql.instances.list" in entry["msg"]


def test_once_prints_metrics_without_those_of_the_process(simulator: Simulator, tmp_path: Path) -> None:
    result = run("once", config_flag(tmp_path, simulator, "museum", "shop-prod"))
    names = {family.name for family in read_text(result.stdout)}
    assert (result.returncode, result.stderr) == (0, "")
    assert "cloudsql_backup_protection" in names
    assert not {name for name in names if not name.startswith("cloudsql_backup_")}


def test_once_replaces_the_file_and_reports_failed_projects(simulator: Simulator, tmp_path: Path) -> None:
    out = tmp_path / "backups.prom"
    out.write_text("old")
    result = run("once", config_flag(tmp_path, simulator, "museum", "sealed"), f"--output={out}")
    assert result.returncode == 3
    assert result.stderr.startswith("error: instances.list of project 'sealed': 403 ")
    assert "gcloud projects add-iam-policy-binding sealed --member=" in result.stderr
    assert 'project_up{project="sealed"} 0.0' in out.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backups.prom", "config.yaml", "data"]
    rejected = run("once", config_flag(tmp_path, simulator, "museum"), f"--output={tmp_path / 'no' / 'such.prom'}")
    message = f"error: cannot write {tmp_path / 'no' / 'such.prom'}: No such file or directory\n"
    assert (rejected.returncode, rejected.stderr) == (1, message)


@pytest.mark.parametrize(
    ("projects", "code"), [(("shop-prod",), 0), (("museum",), 1), (("sealed",), 3), (("museum", "sealed"), 3)]
)
def test_status_exit_code_follows_the_verdicts(
    simulator: Simulator, tmp_path: Path, projects: tuple[str, ...], code: int
) -> None:
    result = run("status", config_flag(tmp_path, simulator, *projects))
    assert result.returncode == code
    if "museum" in projects:
        assert result.stdout.splitlines()[1].startswith("unprotected")
        assert "there is no backup to restore" in result.stdout
        numbers = Counter(state for state, *_ in VERDICTS.values())
        summary = ", ".join(f"{numbers[state]} {state.replace('_', ' ')}" for state in WORST_FIRST if numbers[state])
        assert result.stdout.splitlines()[-1] == summary


def test_unreachable_region_is_reported_and_exits_with_3(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault("unreachable-region", project="shop-prod"))
    result = run("status", config_flag(tmp_path, simulator, "shop-prod"))
    assert result.returncode == 3
    assert result.stderr.startswith(
        "error: project 'shop-prod': the API cannot reach europe-west4: instances there are"
    )
    assert run("once", config_flag(tmp_path, simulator, "shop-prod")).returncode == 3


def test_output_to_a_device_does_not_replace_it(simulator: Simulator, tmp_path: Path) -> None:
    link = tmp_path / "null"
    link.symlink_to("/dev/null")
    assert run("once", config_flag(tmp_path, simulator, "museum"), f"--output={link}").returncode == 0
    assert link.is_char_device()
    result = run("once", config_flag(tmp_path, simulator, "museum"), "--output=-")
    assert "cloudsql_backup_protection" in result.stdout
    full = run("once", config_flag(tmp_path, simulator, "museum"), "--output=/dev/full")
    assert (full.returncode, full.stderr) == (1, "error: cannot write /dev/full: No space left on device\n")


def test_status_prints_json(simulator: Simulator, tmp_path: Path) -> None:
    result = run("status", config_flag(tmp_path, simulator, "museum"), "--output=json")
    unprotected = sum(state is Protection.UNPROTECTED for state, _, _ in VERDICTS.values())
    assert json.loads(result.stdout)["totals"]["unprotected"] == unprotected


def test_demo_needs_no_configuration_and_polls_every_project(tmp_path: Path) -> None:
    with exporter("demo", "--speed=1440", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        banner = running.stderr()
        health = run("healthcheck", f"--url={running.url}")
        up = {
            project: running.metric("cloudsql_backup_exporter_project_up", project=project)
            for project in ("museum", "shop-prod", "warehouse-prod", "sealed")
        }
        running.send(signal.SIGINT)
        assert running.wait()[0] == 0
    assert (health.returncode, health.stdout, health.stderr) == (0, "healthy\n", "")
    assert run("healthcheck", f"--url={running.url}").returncode == 1
    assert up == {"museum": 1, "shop-prod": 1, "warehouse-prod": 1, "sealed": 0}
    assert f"Metrics              {running.url}metrics" in banner
    assert "backups have failed for three days" in banner
    assert "museum          external               an external server, the source of a replica" in banner.splitlines()


def test_fast_demo_shows_new_failed_and_recovered_runs(tmp_path: Path) -> None:
    """Two days pass in four seconds: an instance gets a newer run, one that fails, and one that succeeds again."""
    with exporter("demo", "--speed=43200", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        labels = {"project": "shop-prod", "instance_id": "reviews"}
        started = "cloudsql_backup_last_run_start_timestamp_seconds"
        first = running.metric(started, **labels)
        assert first
        assert eventually(lambda: (running.metric(started, **labels) or 0) > first)
        failing = {"finding": "last_run_failed", **labels}
        assert eventually(lambda: running.metric("cloudsql_backup_finding", **failing) == 1)
        assert eventually(lambda: running.metric("cloudsql_backup_finding", **failing) is None)


def test_simulate_serves_the_api_with_the_given_faults(tmp_path: Path) -> None:
    faults = ("--fault=quota:museum", "--fault=server-error:*:backupRuns.list")
    with exporter("simulate", *faults, log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}v1/projects/shop-prod/instances"))
        assert fetch(f"{running.url}v1/projects/museum/instances").status == 429
        assert fetch(f"{running.url}v1/projects/shop-prod/instances/-/backupRuns").status == 500
        running.send(signal.SIGTERM)
        assert running.wait()[0] == 0
    rejected = run("simulate", "--fault=gremlins")
    assert (rejected.returncode, "unknown fault 'gremlins'; known faults: unauthenticated" in rejected.stderr) == (
        2,
        True,
    )


def test_saved_facts_are_served_after_a_kill_while_the_api_is_down(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "museum")
    read_at = "cloudsql_backup_exporter_project_last_success_timestamp_seconds"
    with exporter(flag, log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        first = running.metric(read_at, project="museum")
        running.send(signal.SIGKILL)
        running.wait()
    simulator.faults.add(Fault("unavailable"))
    with exporter(flag, log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        assert running.metric(read_at, project="museum") == first
        assert running.metric("cloudsql_backup_protection", instance_id="healthy", state="protected") == 1
        assert running.metric("cloudsql_backup_exporter_state_persistent") == 1
        rejected = run(flag, "--web.listen-address=127.0.0.1:0")
    assert rejected.returncode == 1
    assert rejected.stderr.startswith(f"error: another exporter uses the state in {tmp_path / 'data'}; stop it, or")
