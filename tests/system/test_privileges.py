"""Warnings of unneeded privileges by `serve`, `status` and `once` as processes, with a service account key."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from exporter.runtime import system_clock
from exporter.simulator import Fault, SimulatedClock, Simulator, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.builders import eventually
from tests.support.processes import exporter, fetch, is_up, lines_of, run
from tests.support.token_endpoint import TokenEndpoint, service_account_key
from tests.system.test_commands import config_flag

DELETE = "cloudsql.instances.delete"
CREDENTIALS = (
    f"the credentials can do more than read in project owned ({DELETE}); "
    "use an account that has only roles/cloudsql.viewer there"
)
ROOT = "the process runs as root; run it as another user, which needs no privileges"
FOLDER = "the state folder is accessible to other users"
READ = Project({"orders": SCENARIOS["healthy"]})
TEST = ":testIamPermissions"


@dataclass
class Setup:
    """A simulated API with a project in which the credentials may delete, and one in which they may not."""

    simulator: Simulator
    folder: Path

    def flag(self, *projects: str) -> str:
        """The flag that names a configuration with these projects and the service account key."""
        flag = config_flag(self.folder, self.simulator, *projects)
        file = self.folder / "config.yaml"
        file.write_text(file.read_text().replace("credentials: anonymous", "credentials: {file: key.json}"))
        return flag

    def asked(self) -> list[str]:
        """The projects about whose permissions the API was asked."""
        paths = [request.partition("?")[0] for request in self.simulator.requests]
        return [path.removeprefix("/v3/projects/").removesuffix(TEST) for path in paths if path.endswith(TEST)]


@pytest.fixture
def setup(tmp_path: Path) -> Iterator[Setup]:
    """The API, its token endpoint and the key file."""
    world = {"owned": replace(READ, permissions=frozenset({DELETE})), "shop": READ, "store": READ}
    with TokenEndpoint() as endpoint, Simulator(World(world, SimulatedClock(system_clock()))) as simulator:
        (tmp_path / "key.json").write_text(json.dumps(service_account_key(f"{endpoint.url}/token")))
        yield Setup(simulator, tmp_path)


def test_status_advises_between_rows_and_totals(setup: Setup) -> None:
    result = run("status", setup.flag("owned", "shop", "store"))
    lines = result.stdout.splitlines()
    advice = lines.index("Unneeded privileges:")
    assert (lines[advice - 1], lines[-2:]) == ("", ["", "3 protected"])
    assert lines[advice + 1 : -2] == [f"  {text}" for text in ([ROOT] if os.geteuid() == 0 else [])] + [
        f"  {CREDENTIALS}"
    ]
    assert (result.returncode, result.stderr, sorted(setup.asked())) == (0, "", ["owned", "shop", "store"])


@pytest.mark.parametrize("output", ["json", "csv", "markdown"])
def test_advice_goes_to_stderr_in_machine_formats(setup: Setup, output: str) -> None:
    result = run("status", setup.flag("owned"), f"--output={output}")
    assert (result.returncode, CREDENTIALS in result.stderr, CREDENTIALS in result.stdout) == (0, True, False)


def test_status_advises_on_a_state_folder_that_others_can_access(setup: Setup) -> None:
    (setup.folder / "data").mkdir()
    (setup.folder / "data").chmod(0o755)
    result = run("status", setup.flag("shop"))
    assert (result.returncode, f"  {FOLDER} (mode 755); run: chmod 700 {setup.folder}/data\n" in result.stdout) == (
        0,
        True,
    )
    assert list((setup.folder / "data").iterdir()) == []


@pytest.mark.parametrize("kind", ["forbidden", "api-disabled", "quota", "unavailable", "reset", "html"])
def test_status_is_silent_about_an_api_that_does_not_answer(setup: Setup, kind: str) -> None:
    setup.simulator.faults.add(Fault(kind, method="projects.testIamPermissions"))
    result = run("status", setup.flag("owned", "shop"))
    assert (result.returncode, result.stderr, lines_of(result.stdout)[3:]) == (0, "", ["2 protected"])
    assert len(set(setup.asked())) == 1


def test_status_waits_a_few_seconds_for_an_answer(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("slow", method="projects.testIamPermissions", seconds=25))
    result = run("status", setup.flag("owned"))
    assert (result.returncode, lines_of(result.stdout)[2:]) == (0, ["1 protected"])
    assert setup.asked() == ["owned"]


def test_anonymous_requests_do_not_ask(setup: Setup) -> None:
    result = run("status", config_flag(setup.folder, setup.simulator, "owned"))
    assert (result.returncode, setup.asked(), lines_of(result.stdout)[2:]) == (0, [], ["1 protected"])


def test_serve_logs_each_warning_once_and_asks_about_each_project_once(setup: Setup) -> None:
    (setup.folder / "data").mkdir()
    (setup.folder / "data").chmod(0o755)
    with exporter(setup.flag("shop", "owned"), log=setup.folder / "log") as running:
        assert eventually(lambda: CREDENTIALS in running.stderr())
        assert running.metric("cloudsql_backup_exporter_project_up", project="owned") == 1
        log = running.stderr()
    for text, number in ((CREDENTIALS, 1), (FOLDER, 1), (ROOT, int(os.geteuid() == 0))):
        assert log.count(text) == number
    assert log.count("level=warn") == 2 + (os.geteuid() == 0)
    assert len(setup.asked()) == len(set(setup.asked()))


def test_failed_question_does_not_affect_polls_or_the_log(setup: Setup) -> None:
    setup.simulator.faults.add(Fault("forbidden", method="projects.testIamPermissions"))
    with exporter(setup.flag("owned"), "--log.level=debug", log=setup.folder / "log") as running:
        assert eventually(lambda: "whether the credentials can do more than read" in running.stderr())
        assert running.metric("cloudsql_backup_exporter_project_up", project="owned") == 1
        assert running.metric("cloudsql_backup_exporter_polls_total", project="owned", result="forbidden") == 0
        page = fetch(running.url).text
        log = running.stderr()
    assert "testIamPermissions" not in page
    assert ("level=error" in log, log.count("level=debug"), setup.asked()) == (False, 1, ["owned"])


def test_demo_is_silent_about_root_and_the_state_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with exporter("demo", f"--state.path={tmp_path}", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        log = running.stderr()
    assert ("level=warn" in log, "privileges" in log) == (False, False)


def test_once_logs_privileges_of_the_process_on_request(setup: Setup) -> None:
    (setup.folder / "data").mkdir()
    (setup.folder / "data").chmod(0o707)
    quiet = run("once", setup.flag("owned"))
    verbose = run("once", setup.flag("owned"), "--log.level=warn")
    assert (quiet.returncode, quiet.stderr) == (0, "")
    assert (verbose.returncode, verbose.stderr.count(FOLDER)) == (0, 1)
    assert setup.asked() == []
