"""`check` as a process, as a monitoring program runs it."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.runtime import system_clock
from exporter.simulator import WORLDS, Fault, SimulatedClock, Simulator, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.plugins import parse_output
from tests.support.processes import COMMAND, run
from tests.system.test_commands import config_flag


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated API: a healthy project, one at risk, one with unprotected instances, and one without access."""
    mixed = ("disabled", "failing", "missed", "stuck", "healthy", "replica")
    projects = {
        "shop-prod": WORLDS["demo"]()["shop-prod"],
        "risky": Project({"late": SCENARIOS["missed"], "orders": SCENARIOS["slow"]}),
        "mixed": Project({name: SCENARIOS[name] for name in mixed}),
        "sealed": Project(access_error="notAuthorized"),
    }
    with Simulator(World(projects, SimulatedClock(system_clock()))) as simulator:
        yield simulator


@pytest.mark.parametrize(
    ("flags", "code", "text"),
    [
        ([], 2, "CLOUDSQL BACKUPS CRITICAL: 2 unprotected, 4 at risk, 9 protected, 2 exempt; worst: mixed/disabled"),
        (["--project=shop-prod"], 0, "CLOUDSQL BACKUPS OK: 8 protected, 1 exempt"),
        (["--project=shop-prod", "--project=risky"], 1, "CLOUDSQL BACKUPS WARNING: 2 at risk, 8 protected, 1 exempt"),
        (["--project=mixed"], 2, "CLOUDSQL BACKUPS CRITICAL: 2 unprotected, 2 at risk"),
        (["--project=sealed"], 3, "CLOUDSQL BACKUPS UNKNOWN: no instance matches; instances.list of project 'sealed'"),
        (["--project=mixed", "--project=sealed"], 2, "CLOUDSQL BACKUPS CRITICAL: 2 unprotected"),
        (["--project=risky", "--project=sealed"], 3, "CLOUDSQL BACKUPS UNKNOWN: 2 at risk; worst: risky/late"),
        (["--project=nosuch"], 3, "CLOUDSQL BACKUPS UNKNOWN: no instance matches; project nosuch: no target"),
        (["--instance=shop-prod/orders"], 0, "CLOUDSQL BACKUPS OK: shop-prod/orders is protected: recovery point"),
        (["--instance=mixed/failing"], 2, "CLOUDSQL BACKUPS CRITICAL: mixed/failing is unprotected: "),
        (["--instance=mixed/stuck"], 1, "CLOUDSQL BACKUPS WARNING: mixed/stuck is at risk: "),
        (["--instance=mixed/replica"], 0, "CLOUDSQL BACKUPS OK: mixed/replica is exempt: a read replica"),
        (["--project=mixed", "--instance=failing"], 2, "CLOUDSQL BACKUPS CRITICAL: mixed/failing is unprotected"),
        (["--project=shop-prod", "--project=risky", "--instance=orders"], 1, "CLOUDSQL BACKUPS WARNING: 1 at risk, 1"),
        (["--project=shop-prod", "--instance=mixed/failing"], 3, "CLOUDSQL BACKUPS UNKNOWN: no instance matches"),
        (["--instance=shop-prod/nosuch"], 3, "CLOUDSQL BACKUPS UNKNOWN: no instance matches"),
        (["--instance=orders"], 3, "CLOUDSQL BACKUPS UNKNOWN: 1 at risk, 1 protected; worst: risky/orders"),
        (["--no.such.flag"], 3, "CLOUDSQL BACKUPS UNKNOWN: unrecognized arguments: --no.such.flag"),
        (["--instance"], 3, "CLOUDSQL BACKUPS UNKNOWN: argument --instance: expected one argument"),
        (["--instance="], 3, "CLOUDSQL BACKUPS UNKNOWN: argument --instance: '' is not INSTANCE or PROJECT/INSTANCE"),
        (["--instance=shop-prod/"], 3, "CLOUDSQL BACKUPS UNKNOWN: argument --instance: 'shop-prod/' is not INSTANCE"),
        (["--instance=/orders"], 3, "CLOUDSQL BACKUPS UNKNOWN: argument --instance: '/orders' is not INSTANCE"),
        (["--log.level=loud"], 3, "CLOUDSQL BACKUPS UNKNOWN: argument --log.level: invalid choice"),
    ],
)
def test_exit_code_and_first_line(simulator: Simulator, tmp_path: Path, flags: list[str], code: int, text: str) -> None:
    result = run("check", config_flag(tmp_path, simulator, "mixed", "sealed", "shop-prod", "risky"), *flags)
    assert result.stdout.startswith(text)
    assert (result.returncode, result.stderr) == (code, "")
    parsed = parse_output(result.stdout)
    of_one_instance = " is " in text and "replica" not in text and "argument" not in text
    assert ("recovery_point_age" in parsed.performance) == of_one_instance


def test_forbidden_project_is_followed_by_the_command_that_grants_access(simulator: Simulator, tmp_path: Path) -> None:
    details = parse_output(run("check", config_flag(tmp_path, simulator, "sealed")).stdout).details
    assert details[1:3] == ["Missing permissions:", "  sealed: cloudsql.instances.list"]
    assert details[3].startswith("    gcloud projects add-iam-policy-binding sealed --member=")


def test_unreadable_region_is_unknown_unless_something_is_unprotected(simulator: Simulator, tmp_path: Path) -> None:
    simulator.faults.add(Fault("unreachable-region"))
    flag = config_flag(tmp_path, simulator, "mixed", "shop-prod")
    assert [run("check", flag, f"--project={project}").returncode for project in ("mixed", "shop-prod")] == [2, 3]


def test_other_projects_are_not_polled(simulator: Simulator, tmp_path: Path) -> None:
    run("check", config_flag(tmp_path, simulator, "mixed", "shop-prod"), "--instance=shop-prod/orders")
    assert simulator.requests
    assert [request for request in simulator.requests if "mixed" in request] == []


def test_bad_configuration_is_unknown_with_every_problem(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("targets: []\npoll: {interval: '1|2'}\n")
    result = run("check", f"--config.file={file}")
    assert (result.returncode, result.stderr) == (3, "")
    first, second = result.stdout.splitlines()
    assert first == f"CLOUDSQL BACKUPS UNKNOWN: {file}:1: targets: must not be empty"
    assert second.startswith(f"{file}:2: poll.interval: must be a duration")
    missing = run("check", f"--config.file={tmp_path / 'none.yaml'}")
    assert (missing.returncode, missing.stdout.startswith("CLOUDSQL BACKUPS UNKNOWN: ")) == (3, True)


def test_full_disk_is_unknown(simulator: Simulator, tmp_path: Path) -> None:
    flag = config_flag(tmp_path, simulator, "shop-prod")
    with Path("/dev/full").open("w") as full:
        result = subprocess.run([*COMMAND, "check", flag], stdout=full, stderr=subprocess.PIPE, check=False, timeout=60)
    assert (result.returncode, result.stderr) == (3, b"error: cannot write the output: No space left on device\n")


def test_missing_credentials_are_unknown(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text("targets: [{project: p}]\n")
    result = run("check", f"--config.file={file}", GOOGLE_APPLICATION_CREDENTIALS=str(tmp_path / "none.json"))
    assert (result.returncode, len(result.stdout.splitlines()), result.stderr) == (3, 1, "")
    assert result.stdout.startswith(
        "CLOUDSQL BACKUPS UNKNOWN: the application default credentials cannot be used: File "
    )


def test_hostile_names_keep_the_convention(tmp_path: Path) -> None:
    names = ("a|b=1;2;3", "two\rlines", "\x1b[2J", "\u202e")
    world = World({"museum": Project(dict.fromkeys(names, SCENARIOS["never"]))}, SimulatedClock(system_clock()))
    with Simulator(world) as simulator:
        result = run("check", config_flag(tmp_path, simulator, "museum"))
    parsed = parse_output(result.stdout)
    assert (result.returncode, len(parsed.details), parsed.performance["unprotected"].value) == (2, 4, "4")
