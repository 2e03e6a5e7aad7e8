"""SqliteLedger and open_ledger: saving, damaged and foreign files, locks, and failures while running."""

import logging
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from exporter.facts.counters import EXPIRE_AFTER
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import SavedSearch
from exporter.scan.incremental import scan
from exporter.simulator import WORLDS, SimulatedClock, World
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.state.sqlite import FILE, SqliteLedger, StateInUseError, open_ledger
from tests.support.builders import DAY, NOW, SECOND, WorldSource, scan_options, world


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def museum() -> World:
    return world(WORLDS["demo"]())


def scan_museum(museum: World, before: ProjectScan | None = None) -> ProjectScan:
    return scan(WorldSource(museum), "museum", museum.clock(), scan_options(), before)


def advance(museum: World, duration: timedelta) -> None:
    assert isinstance(museum.clock, SimulatedClock)
    museum.clock.advance(duration)


def row_count(folder: Path, table: str) -> int:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 (a literal of this file)
    return int(count)


def execute(file: Path, statement: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(statement)
        connection.commit()


def test_saved_scan_is_read_at_next_start(folder: Path, museum: World) -> None:
    first = scan_museum(museum)
    advance(museum, DAY)
    second = scan_museum(museum, first)
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", first)
        ledger.save("museum", second)
    with closing(open_ledger(folder)) as ledger:
        assert ledger.scans() == {"museum": second}


def test_found_projects_of_each_search_survive_a_restart(folder: Path) -> None:
    with closing(open_ledger(folder)) as ledger:
        ledger.save_search("labels.env=prod", SavedSearch(("museum", "shop-prod"), api_disabled=("shop-prod",)))
        ledger.save_search("folders/1", SavedSearch(()))
        ledger.save_search("labels.env=test", SavedSearch(("museum-test",)))
        ledger.save_search("labels.env=test", None)
    with closing(open_ledger(folder)) as ledger:
        assert ledger.searches() == {
            "labels.env=prod": SavedSearch(("museum", "shop-prod"), api_disabled=("shop-prod",)),
            "folders/1": SavedSearch(()),
        }


def test_new_folder_is_accessible_to_its_owner_only(folder: Path) -> None:
    open_ledger(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_mode_of_an_existing_folder_is_not_changed(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o750)
    open_ledger(folder).close()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_only_changed_records_are_written(folder: Path, museum: World, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[object] = []

    class RecordRowSpy:
        def dump_json(self, row: object) -> bytes:
            written.append(row)
            return b"{}"

    with closing(open_ledger(folder)) as ledger:
        first = scan_museum(museum)
        ledger.save("museum", first)
        monkeypatch.setattr("exporter.state.rows._RECORD_ROW", RecordRowSpy())
        ledger.save("museum", scan_museum(museum, first))
        assert written == []
        advance(museum, timedelta(hours=2))
        ledger.save("museum", scan_museum(museum, first))
        assert 0 < len(written) < len(first.records)


def test_counters_of_removed_instances_are_stored_for_a_week(folder: Path, museum: World) -> None:
    first = scan_museum(museum)
    museum.projects = {"museum": Project({})}
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", first)
        second = scan_museum(museum, first)
        ledger.save("museum", second)
        assert (second.records, len(second.removed), row_count(folder, "record")) == (
            {},
            len(SCENARIOS),
            len(SCENARIOS),
        )
    with closing(open_ledger(folder)) as ledger:
        assert ledger.scans() == {"museum": second}
        advance(museum, EXPIRE_AFTER + SECOND)
        ledger.save("museum", scan_museum(museum, second))
        assert row_count(folder, "record") == 0


def test_expired_projects_are_deleted_from_the_file(folder: Path, museum: World) -> None:
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", scan_museum(museum))
        ledger.forget({"other"}, NOW + EXPIRE_AFTER)
        assert row_count(folder, "project") == 1
        ledger.forget({"museum"}, NOW + 2 * EXPIRE_AFTER)
        assert row_count(folder, "project") == 1
        ledger.forget({"other"}, NOW + EXPIRE_AFTER + SECOND)
        assert (row_count(folder, "project"), row_count(folder, "record")) == (0, 0)


def test_second_exporter_on_the_same_folder_is_rejected(folder: Path) -> None:
    message = r"another exporter uses the state in .*data; stop it, or name another"
    with closing(open_ledger(folder)), pytest.raises(StateInUseError, match=message):
        open_ledger(folder)


def test_folder_can_be_used_again_after_close(folder: Path) -> None:
    for _ in range(2):
        with closing(open_ledger(folder)) as ledger:
            assert isinstance(ledger, SqliteLedger)


def damage_everything(file: Path) -> None:
    file.write_bytes(b"this is not a database" * 100)


def damage_root_page(file: Path, table: str) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    file.write_bytes(content)


def damage_a_page(file: Path) -> None:
    damage_root_page(file, "project")


def damage_a_row(file: Path) -> None:
    execute(file, "UPDATE record SET body = '{' WHERE instance = 'healthy'")


def damage_the_runs(file: Path) -> None:
    execute(file, "UPDATE record SET runs = zeroblob(length(runs)) WHERE instance = 'healthy'")


@pytest.mark.parametrize("damage", [damage_everything, damage_a_page, damage_a_row, damage_the_runs])
def test_damaged_file_is_renamed_and_state_is_in_memory(
    folder: Path, museum: World, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", scan_museum(museum))
    damage(folder / FILE)
    damaged = (folder / FILE).read_bytes()
    with closing(open_ledger(folder)) as ledger:
        assert (ledger.persistent, ledger.scans()) == (False, {})
    assert (folder / f"{FILE}.damaged-0").read_bytes() == damaged
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert f"was renamed to {FILE}.damaged-0; state is in memory only" in caplog.text
    with closing(open_ledger(folder)) as ledger:  # the next start creates a new file
        assert ledger.persistent


def test_damaged_daily_record_does_not_affect_facts(
    folder: Path, museum: World, caplog: pytest.LogCaptureFixture
) -> None:
    """It is found when it is read, not at the start: the daily record can be many times larger than the facts."""
    first = scan_museum(museum)
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", first)
    damage_root_page(folder / FILE, "project_day")
    with closing(open_ledger(folder)) as ledger:
        assert (ledger.persistent, ledger.scans()) == (True, {"museum": first})
        assert ledger.daily_record("museum") is None
        assert "cannot read the daily record of project museum" in caplog.text


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 99", f"{FILE} has version 99, this release reads version 5; move it away"),
        ("PRAGMA application_id = 7", f"{FILE} is not a state file of this exporter; move it away"),
    ],
)
def test_file_of_another_version_or_program_is_not_touched(
    folder: Path, statement: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    open_ledger(folder).close()
    execute(folder / FILE, statement)
    content = (folder / FILE).read_bytes()
    with closing(open_ledger(folder)) as ledger:
        assert not ledger.persistent
    assert (folder / FILE).read_bytes() == content
    assert len(caplog.records) == 1
    assert message in caplog.text


def test_locked_file_is_not_touched(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_ledger(folder).close()
    with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with closing(open_ledger(folder)) as ledger:
            assert not ledger.persistent
    assert (folder / FILE).exists()
    assert "database is locked; state is in memory only" in caplog.text


def test_folder_that_cannot_be_created_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")
    assert not open_ledger(tmp_path / "file" / "data").persistent
    assert "cannot be used: [Errno 20] Not a directory" in caplog.text


def test_write_failure_is_logged_once_and_caught_up_later(
    folder: Path, museum: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with closing(open_ledger(folder)) as ledger:
        first = scan_museum(museum)
        with closing(sqlite3.connect(folder / FILE, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            ledger.save("museum", first)
            second = scan_museum(museum, first)
            ledger.save("museum", second)
            assert not ledger.persistent
        ledger.save("museum", scan_museum(museum, second))
        assert ledger.persistent
        assert row_count(folder, "record") == len(SCENARIOS)
    messages = [record.getMessage() for record in caplog.records]
    assert [message.split(":")[0] for message in messages if "state" in message] == [
        "cannot write state",
        "state is persistent again",
    ]


def test_file_removed_while_in_use_is_logged(folder: Path, museum: World, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_ledger(folder)) as ledger:
        ledger.save("museum", scan_museum(museum))
        for file in folder.iterdir():
            file.unlink()
        ledger.save("museum", scan_museum(museum))
        assert not ledger.persistent
    assert "the state file was removed" in caplog.text
