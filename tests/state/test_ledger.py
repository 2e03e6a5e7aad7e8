"""The ledger: what is saved comes back; what cannot be used is said, set aside and never deleted."""

import logging
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.record import ProjectScan
from exporter.scan.incremental import scan
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.state.sqlite import FILE, SqliteLedger, StateInUseError, open_ledger
from tests.support.builders import DAY, NOW, SECOND, WorldSource, scan_options, world


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def closed() -> Iterator[None]:
    """Let go of what the test opened, as the end of a process would."""
    yield
    for ledger in OPEN:
        release(ledger)


OPEN: list[Ledger] = []


def opened(folder: Path) -> Ledger:
    ledger = open_ledger(folder)
    OPEN.append(ledger)
    return ledger


def release(ledger: Ledger) -> None:
    if isinstance(ledger, SqliteLedger):
        ledger.close()
    OPEN.remove(ledger)


def scanned(before: ProjectScan | None = None, museum: World | None = None) -> ProjectScan:
    museum = museum or world(WORLDS["demo"]())
    return scan(WorldSource(museum), "museum", museum.clock(), scan_options(), before)


def rows(folder: Path, table: str) -> int:
    with sqlite3.connect(folder / FILE) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 (a test's own word)
    connection.close()
    return int(count)


def test_what_is_saved_comes_back_whole(folder: Path) -> None:
    museum = world(WORLDS["demo"]())
    first = scanned(museum=museum)
    assert isinstance(museum.clock, SimulatedClock)
    museum.clock.advance(DAY)
    second = scanned(first, museum)
    ledger = opened(folder)
    ledger.save("museum", first)
    ledger.save("museum", second)
    release(ledger)
    assert opened(folder).scans() == {"museum": second}


def test_only_what_changed_is_written(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    museum = world(WORLDS["demo"]())
    ledger = opened(folder)
    first = scanned(museum=museum)
    ledger.save("museum", first)
    written: list[object] = []

    class Spy:
        def dump_json(self, row: object) -> bytes:
            written.append(row)
            return b"{}"

    monkeypatch.setattr("exporter.state.rows._RECORD_ROW", Spy())
    ledger.save("museum", scanned(first, museum))
    assert written == []
    assert isinstance(museum.clock, SimulatedClock)
    museum.clock.advance(timedelta(hours=2))
    ledger.save("museum", scanned(first, museum))
    assert 0 < len(written) < len(first.records)


def test_instances_that_are_gone_leave_an_account_for_a_week(folder: Path) -> None:
    museum = world(WORLDS["demo"]())
    assert isinstance(museum.clock, SimulatedClock)
    first = scanned(museum=museum)
    museum.projects = {"museum": type(museum.projects["museum"])({})}
    ledger = opened(folder)
    ledger.save("museum", first)
    second = scanned(first, museum)
    ledger.save("museum", second)
    assert (second.records, len(second.removed), rows(folder, "record")) == ({}, 28, 28)
    release(ledger)
    ledger = opened(folder)
    assert ledger.scans() == {"museum": second}
    museum.clock.advance(EXPIRE_AFTER + SECOND)
    ledger.save("museum", scanned(second, museum))
    assert rows(folder, "record") == 0


def test_projects_no_longer_targeted_are_let_go_after_a_week(folder: Path) -> None:
    ledger = opened(folder)
    ledger.save("museum", scanned())
    ledger.forget({"other"}, NOW + EXPIRE_AFTER)
    assert rows(folder, "project") == 1
    ledger.forget({"museum"}, NOW + 2 * EXPIRE_AFTER)
    assert rows(folder, "project") == 1
    ledger.forget({"other"}, NOW + EXPIRE_AFTER + SECOND)
    assert (rows(folder, "project"), rows(folder, "record")) == (0, 0)


def test_a_second_exporter_on_the_same_folder_is_refused(folder: Path) -> None:
    opened(folder)
    with pytest.raises(StateInUseError, match=r"another exporter keeps its state in .*data; stop it, or name another"):
        open_ledger(folder)


def damage_everything(file: Path) -> None:
    file.write_bytes(b"this is not a database" * 100)


def damage_a_page(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[4096 : 2 * 4096] = b"\xff" * 4096
    file.write_bytes(content)


def damage_a_row(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE record SET body = '{' WHERE instance = 'healthy'")
    connection.commit()
    connection.close()


def damage_the_runs(file: Path) -> None:
    connection = sqlite3.connect(file)
    connection.execute("UPDATE record SET runs = zeroblob(length(runs)) WHERE instance = 'healthy'")
    connection.commit()
    connection.close()


@pytest.mark.parametrize("damage", [damage_everything, damage_a_page, damage_a_row, damage_the_runs])
def test_a_damaged_file_is_set_aside_and_kept(folder: Path, damage: object, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opened(folder)
    ledger.save("museum", scanned())
    release(ledger)
    assert callable(damage)
    damage(folder / FILE)
    damaged = (folder / FILE).read_bytes()
    ledger = opened(folder)
    assert (ledger.persistent, ledger.scans()) == (False, {})
    assert (folder / f"{FILE}.damaged-0").read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"was set aside as {FILE}.damaged-0; running on in memory" in caplog.text
    release(ledger)
    assert opened(folder).persistent  # the next start begins anew


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("PRAGMA user_version = 99", "is of version 99, this release reads version 2"),
        ("PRAGMA application_id = 7", "is not a ledger of this exporter"),
    ],
)
def test_a_file_of_another_version_or_program_is_left_where_it_is(
    folder: Path, statement: str, says: str, caplog: pytest.LogCaptureFixture
) -> None:
    release(opened(folder))
    connection = sqlite3.connect(folder / FILE)
    connection.execute(statement)
    connection.close()
    assert not opened(folder).persistent
    assert (folder / FILE).exists()
    assert len(caplog.records) == 1
    assert says in caplog.text


def test_a_file_that_is_locked_is_left_where_it_is(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    release(opened(folder))
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    assert not opened(folder).persistent
    other.close()
    assert "database is locked; running on in memory" in caplog.text


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert not open_ledger(tmp_path / "file" / "data").persistent
    assert "cannot be used: [Errno 20] Not a directory" in caplog.text


def test_trouble_while_running_is_said_once_and_made_good_later(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    museum = world(WORLDS["demo"]())
    ledger = opened(folder)
    first = scanned(museum=museum)
    other = sqlite3.connect(folder / FILE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    ledger.save("museum", first)
    second = scanned(first, museum)
    ledger.save("museum", second)
    assert not ledger.persistent
    other.close()
    ledger.save("museum", scanned(second, museum))
    assert ledger.persistent
    assert rows(folder, "record") == 28
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages if "state" in message] == [
        "state cannot be kept",
        "state is kept again",
    ]


def test_without_a_folder_nothing_is_kept() -> None:
    ledger = open_ledger(None)
    ledger.save("museum", scanned())
    ledger.forget((), datetime.now(NOW.tzinfo))
    assert isinstance(ledger, MemoryLedger)
    assert (ledger.scans(), ledger.persistent) == ({}, False)


def test_a_file_that_is_removed_while_it_is_used_is_said(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    ledger = opened(folder)
    ledger.save("museum", scanned())
    for file in folder.iterdir():
        file.unlink()
    ledger.save("museum", scanned())
    assert not ledger.persistent
    assert "the state file was removed" in caplog.text


def test_what_is_kept_of_a_project_can_be_had_again(folder: Path) -> None:
    for ledger in (opened(folder), open_ledger(None)):
        scan = scanned()
        ledger.save("museum", scan)
        assert (ledger.last_scan("museum"), ledger.last_scan("other")) == (scan, None)
