"""Unneeded privileges: of the process, of other users on the state folder, and of the credentials."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from exporter.config import Config
from exporter.facts.model import PollResult
from exporter.privileges import WriteAccess, of_process
from exporter.runtime import Exporter, system_clock
from exporter.scan.source import SourceError

ROOT = "the process runs as root; run it as another user, which needs no privileges"
DELETE = "cloudsql.instances.delete"
ADVICE = "use an account that has only roles/cloudsql.viewer there"


@pytest.fixture(autouse=True)
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def test_root_is_advised_to_be_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(of_process(None)) == []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert list(of_process(None)) == [ROOT]


@pytest.mark.parametrize("mode", [0o700, 0o750, 0o770, 0o2770, 0o500])
def test_state_folder_of_owner_and_group_is_no_problem(tmp_path: Path, mode: int) -> None:
    tmp_path.chmod(mode)
    assert list(of_process(tmp_path)) == []


@pytest.mark.parametrize(("mode", "shown"), [(0o755, "755"), (0o777, "777"), (0o701, "701"), (0o704, "704")])
def test_state_folder_that_others_can_access_is_reported(tmp_path: Path, mode: int, shown: str) -> None:
    folder = tmp_path / "it's data"
    folder.mkdir()
    folder.chmod(mode)
    (text,) = of_process(folder)
    command = f"chmod 700 '{tmp_path}/it'\"'\"'s data'"
    assert text == f"the state folder is accessible to other users (mode {shown}); run: {command}"


def test_missing_state_folder_is_no_problem(tmp_path: Path) -> None:
    assert list(of_process(tmp_path / "none")) == []


class Api:
    """Answers by project, and the projects that were asked about."""

    def __init__(self, **granted: Sequence[str] | SourceError) -> None:
        self.granted, self.asked = granted, list[str]()

    def __call__(self, project: str) -> Sequence[str]:
        self.asked.append(project)
        answer = self.granted[project]
        if isinstance(answer, SourceError):
            raise answer
        return answer


def test_each_project_is_asked_about_once() -> None:
    api = Api(a=[], b=[], c=[])
    access = WriteAccess(api)
    assert [access.ask_next(["a", "b"]) for _ in range(3)] == [True, True, False]
    assert [access.ask_next(["a", "b", "c"]) for _ in range(2)] == [True, False]
    assert (api.asked, list(access.found())) == (["a", "b", "c"], [])


def test_text_names_project_permissions_and_role() -> None:
    access = WriteAccess(Api(a=[], b=[DELETE, "cloudsql.instances.update"]))
    while access.ask_next(["a", "b"]):
        pass
    permissions = "cloudsql.instances.delete, cloudsql.instances.update"
    assert list(access.found()) == [f"the credentials can do more than read in project b ({permissions}); {ADVICE}"]


def test_text_about_several_projects_counts_them() -> None:
    access = WriteAccess(Api(a=[DELETE], b=[], c=[DELETE]))
    while access.ask_next(["a", "b", "c"]):
        pass
    assert list(access.found()) == [
        f"the credentials can do more than read in 2 projects, such as a ({DELETE}); {ADVICE}"
    ]


@pytest.mark.parametrize("result", [PollResult.API_DISABLED, PollResult.FORBIDDEN, PollResult.TIMEOUT])
def test_nothing_is_asked_or_logged_after_a_failure(result: PollResult, caplog: pytest.LogCaptureFixture) -> None:
    api = Api(a=[DELETE], b=SourceError(result, "no"), c=[DELETE])
    access = WriteAccess(api)
    with caplog.at_level("INFO"):
        assert [access.ask_next(["a", "b", "c"]) for _ in range(3)] == [True, False, False]
    assert (api.asked, len(list(access.found())), caplog.records) == (["a", "b"], 1, [])


def test_without_credentials_nothing_is_asked() -> None:
    access = WriteAccess(None)
    assert (access.ask_next(["a"]), list(access.found())) == (False, [])


class Waits:
    """An event that is set after a number of waits, whose timeouts it stores."""

    def __init__(self, number: int) -> None:
        self.number, self.timeouts = number, list[float]()

    def wait(self, timeout: float) -> bool:
        self.timeouts.append(timeout)
        return len(self.timeouts) > self.number


@pytest.mark.parametrize(("requests_per_minute", "pause"), [(1, 6000), (300, 20), (60_000, 1)])
def test_running_exporter_uses_a_hundredth_of_the_rate_limit_to_ask_until_it_has_found_a_project(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, requests_per_minute: int, pause: float
) -> None:
    settings = {"credentials": "anonymous", "requests_per_minute": requests_per_minute}
    targets = [{"project": "a"}]
    config = Config.model_validate({"cloudsql": settings, "targets": targets, "state": {"path": None}})
    exporter = Exporter(lambda: config, system_clock)
    api, waits = Api(a=[], b=[DELETE], c=[DELETE]), Waits(5)
    monkeypatch.setattr("exporter.runtime._polled_projects", lambda _snapshot: ["a", "b", "c"])
    monkeypatch.setattr(exporter._running.write_access, "_ask", api)
    monkeypatch.setattr(exporter, "_stopped", waits)
    exporter._watch_write_access()
    assert (api.asked, waits.timeouts) == (["a", "b"], [pause] * 6)
    assert [record.getMessage() for record in caplog.records] == [
        f"the credentials can do more than read in project b ({DELETE}); {ADVICE}"
    ]
