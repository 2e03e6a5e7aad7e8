"""`report` and `state`: what they print, and their exit codes."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.cli import report as report_module
from exporter.cli.main import main
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import SavedSearch
from exporter.state.sqlite import FILE, VERSION, open_ledger
from tests.state.test_daily import GOOD, TODAY, record
from tests.support.builders import DAY, NOW

FLAG = "--state.path={}"


@pytest.fixture(autouse=True)
def now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "system_clock", lambda: NOW)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    with closing(open_ledger(tmp_path / "data")) as ledger:
        for ago in range(40, -1, -1):
            ledger.save("shop-prod", None, [record(TODAY - ago * DAY, orders=GOOD)])
    return tmp_path / "data"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def csv_days(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return [line.split(",")[2] for line in capsys.readouterr().out.splitlines()[1:]]


def test_report_is_about_the_last_30_days(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", FLAG.format(folder), "--output=csv") == 0
    assert csv_days(capsys) == [str(TODAY - ago * DAY) for ago in range(29, -1, -1)]


@pytest.mark.parametrize(
    ("flags", "first", "days"),
    [
        (["--from=2026-11-01"], "2026-11-01", 23),
        (["--to=2026-11-10"], "2026-10-12", 30),
        (["--from=2026-11-10", "--to=2026-11-10"], "2026-11-10", 1),
        (["--from=2026-11-22", "--to=2026-12-02"], "2026-11-22", 11),  # not observed yet
    ],
)
def test_period_of_a_report(
    flags: list[str], first: str, days: int, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("report", FLAG.format(folder), "--output=csv", *flags) == 0
    found = csv_days(capsys)
    assert (found[0], len(found)) == (first, days)


@pytest.mark.parametrize("flags", [["--to=0001-01-30"], ["--from=9999-12-25", "--to=9999-12-31"]])
def test_period_at_the_ends_of_the_calendar(flags: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("report", FLAG.format(folder), *flags) == 0
    assert "No database is known for this period." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--from=2026-11-24", "--to=2026-11-23"], "--from 2026-11-24 is after --to 2026-11-23"),
        (["--from=2026-11-24"], "--from 2026-11-24 is after --to 2026-11-23"),
        (["--from=24.11.2026"], "'24.11.2026' is not a date such as 2026-11-24"),
        (["--to=20261124"], "'20261124' is not a date such as 2026-11-24"),
        (["--to=2026-W48-2"], "'2026-W48-2' is not a date such as 2026-11-24"),
        (["--to=0001-01-29"], "30 days up to --to 0001-01-29 begin before the first date, 0001-01-01; set --from"),
        (["--to=2026-11-31"], "'2026-11-31' is not a date such as 2026-11-24"),
        (["--output=pdf"], "invalid choice: 'pdf'"),
    ],
)
def test_bad_flag_of_a_report(flags: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code = run("report", FLAG.format(folder), *flags)
    except SystemExit as ended:
        code = int(str(ended.code))
    output = capsys.readouterr()
    assert (code, output.out) == (2, "")
    assert message in " ".join(output.err.split())


def test_report_of_several_folders_beside_an_exporter(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with closing(open_ledger(tmp_path / "other")) as ledger:
        ledger.save("other", None, [record(TODAY, users=GOOD)])
        assert run("report", FLAG.format(folder), FLAG.format(tmp_path / "other"), "--output=json") == 0
        document = json.loads(capsys.readouterr().out)
        ledger.save("other", None, [record(TODAY, users=GOOD, more=GOOD)])
        assert ledger.persistent
    assert [found["instance_id"] for found in document["instances"]] == ["users", "orders"]
    assert document["fleet"] == {"days_observed": 31, "days_within_policy": 31}


def test_found_projects_that_were_never_read_are_named(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A project of another shard, which reads it, is not named; nor is one in which the API is off."""
    with closing(open_ledger(folder)) as ledger:
        ledger.save_search("state:ACTIVE", SavedSearch(("sealed", "shop-prod", "off", "other"), ("off",)))
        ledger.save("shop-prod", ProjectScan(NOW, NOW), [])
    with closing(open_ledger(tmp_path / "other")) as ledger:
        ledger.save("other", ProjectScan(NOW, NOW), [])
    for flags, names in (([FLAG.format(tmp_path / "other")], "sealed"), ([], "other, sealed")):
        assert run("report", FLAG.format(folder), *flags) == 0
        output = capsys.readouterr()
        assert output.err == f"not in the report, since they were never read: {names}\n"
        assert f"in this report: <bdi>{names.replace(', ', '</bdi>, <bdi>')}</bdi>." in output.out


def test_state_that_is_named_twice_is_refused(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(folder)
    for other in (folder, Path("data"), folder / ".." / "data", tmp_path / "link"):
        assert run("report", FLAG.format(folder), FLAG.format(other), "--output=csv") == 2
        output = capsys.readouterr()
        expected = f"--state.path {folder} and --state.path {other} have the same state; name it once"
        assert (output.out, expected in " ".join(output.err.split())) == ("", True)
    assert run("report", FLAG.format(folder), FLAG.format("none"), "--output=csv") == 1


def test_report_reads_the_folder_of_the_configuration(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(f"targets: [{{project: shop-prod}}]\nstate: {{path: '{folder}'}}\n")
    assert run("report", f"--config.file={config}") == 0
    assert "<!DOCTYPE html>" in capsys.readouterr().out
    config.write_text("targets: [{project: shop-prod}]\nstate: {path: null}\n")
    assert run("report", f"--config.file={config}") == 1
    assert "keeps no state: state.path is null; name a folder with --state.path" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.parametrize("command", [["report"], ["state", "check"], ["state", "export", "backup.sqlite3"]])
def test_without_state_the_exit_code_is_1(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*command, FLAG.format(tmp_path / "none")) == 1
    assert capsys.readouterr().err.startswith("error: no state in ")
    assert list(tmp_path.iterdir()) == []


def test_damaged_state_has_the_exit_code_1(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute("UPDATE instance_day SET body = x'00'")
    for command in (["report"], ["state", "check"], ["state", "export", folder / "backup.sqlite3"]):
        assert run(*command, FLAG.format(folder)) == 1
        output = capsys.readouterr()
        assert (output.out, "is damaged: damaged daily record" in " ".join(output.err.split())) == ("", True)


def test_state_check_prints_the_contents_beside_an_exporter(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(open_ledger(folder)):
        assert run("state", "check", FLAG.format(folder)) == 0
    lines = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    texts = {name: text.strip() for name, text in lines.items()}
    assert (texts["file"], texts["sound"], texts["version"]) == (str(folder / FILE), "yes", str(VERSION))
    assert texts["daily record"] == f"41 instance days, {TODAY - 40 * DAY} to {TODAY}"


def test_state_is_exported_and_imported(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, restored = tmp_path / "backup.sqlite3", tmp_path / "restored"
    with closing(open_ledger(folder)):
        assert run("state", "export", file, FLAG.format(folder)) == 1
        assert "another exporter uses the state in" in capsys.readouterr().err
    assert run("state", "export", file, FLAG.format(folder)) == 0
    assert run("state", "import", file, FLAG.format(restored)) == 0
    assert run("state", "import", file, FLAG.format(restored)) == 1
    assert "has state already" in " ".join(capsys.readouterr().err.split())
    for of in (folder, restored):
        assert run("report", FLAG.format(of), "--output=csv") == 0
    rows = capsys.readouterr().out.splitlines()
    assert rows[: len(rows) // 2] == rows[len(rows) // 2 :]


@pytest.mark.parametrize("arguments", [["state"], ["state", "copy"], ["state", "export"], ["state", "check", "file"]])
def test_bad_flag_of_state(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert (ended.value.code, capsys.readouterr().out) == (2, "")


def test_export_into_a_folder_that_is_not_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("state", "export", folder / "none" / "backup.sqlite3", FLAG.format(folder)) == 1
    assert "cannot write" in capsys.readouterr().err
