"""A state file that is read only: beside an exporter that uses it, of earlier versions, damaged or missing."""

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from exporter.facts.daily import InstanceDay
from exporter.facts.snapshot import SavedSearch
from exporter.scan.incremental import scan
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.state import reader
from exporter.state.reader import SavedInstance, SavedState, SavedStateError
from exporter.state.sqlite import FILE, VERSION, open_ledger
from tests.state.test_daily import GOOD, TODAY, record
from tests.support.builders import DAY, NOW, WorldSource, scan_options, world

NAMES = ("healthy", "failing")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """State with two instances, one of which is gone, and two days."""
    shop = world({"shop-prod": Project({name: SCENARIOS[name] for name in NAMES})})
    with closing(open_ledger(tmp_path / "data")) as ledger:
        scanned = scan(WorldSource(shop), "shop-prod", NOW, scan_options(), None)
        ledger.save("shop-prod", scanned, [record(TODAY - DAY, failing=GOOD, gone=GOOD)])
        ledger.save("shop-prod", None, [record(TODAY, failing=replace(GOOD, state="at_risk"))])
        ledger.save_search("labels.env=prod", SavedSearch(("shop-prod",)))
    return tmp_path / "data"


def found(state: SavedState) -> dict[str, tuple[list[InstanceDay], bool]]:
    return {
        instance.name: ([day for _, day in instance.days], instance.present)
        for instance in state.instances(TODAY - DAY, TODAY)
    }


EXPECTED = {
    "failing": ([GOOD, replace(GOOD, state="at_risk")], True),
    "gone": ([GOOD], False),
    "healthy": ([], True),
}


def test_present_instances_and_those_with_days_are_found(folder: Path) -> None:
    with closing(SavedState.of_folder(folder)) as state:
        assert found(state) == EXPECTED
        later = state.instances(TODAY + DAY, TODAY + DAY)
        assert [(instance.name, instance.days) for instance in later] == [("failing", ()), ("healthy", ())]
        assert later[0].created == NOW - 400 * DAY


def test_instance_that_was_deleted_later_is_found_with_its_true_days(folder: Path) -> None:
    with closing(open_ledger(folder)) as ledger:
        ledger.save("shop-prod", None, [record(TODAY + 9 * DAY, failing=GOOD, gone=GOOD)])
    with closing(SavedState.of_folder(folder)) as state:
        found = {instance.name: instance for instance in state.instances(TODAY, TODAY + DAY)}
    gone = found["gone"]
    assert (gone.present, gone.days, gone.first_day, gone.last_day) == (False, (), TODAY - DAY, TODAY + 9 * DAY)
    assert (gone.project_since, gone.project_days) == (TODAY - DAY, frozenset({TODAY}))
    assert (found["healthy"].first_day, found["failing"].last_day) == (None, TODAY + 9 * DAY)


def test_state_is_read_beside_an_exporter_as_it_was_when_it_was_opened(folder: Path) -> None:
    with closing(open_ledger(folder)) as ledger, closing(SavedState.of_folder(folder)) as state:
        ledger.save("shop-prod", None, [record(TODAY, failing=GOOD, new=GOOD)])
        assert ledger.persistent
        assert found(state) == EXPECTED
        with closing(SavedState.of_folder(folder)) as reopened:
            assert "new" in found(reopened)
            assert reopened.check().instance_days == 4


def test_reading_changes_nothing(folder: Path) -> None:
    content = (folder / FILE).read_bytes()
    with closing(SavedState.of_folder(folder)) as state:
        state.check()
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            state._connection.execute("DELETE FROM record")
    assert (folder / FILE).read_bytes() == content
    open_ledger(folder).close()


def test_a_folder_that_cannot_be_written_is_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests may run as root, who can write everything: the first attempt fails as it does for others."""
    begin = reader._begin

    def without_log(uri: str) -> sqlite3.Connection:
        if "immutable" not in uri:
            raise sqlite3.OperationalError("unable to open database file")
        return begin(uri)

    monkeypatch.setattr(reader, "_begin", without_log)
    with closing(SavedState.of_folder(folder)) as state:
        assert found(state) == EXPECTED
    Path(f"{folder / FILE}-wal").touch()  # an exporter uses the file: it may change at any time
    with pytest.raises(SavedStateError, match=r"cannot read .*: unable to open database file"):
        SavedState.of_folder(folder)


def test_contents(folder: Path) -> None:
    with closing(SavedState.of_folder(folder)) as state:
        contents = state.check()
    assert (contents.version, contents.projects, contents.instances, contents.searches) == (VERSION, 1, 2, 1)
    assert (contents.last_read, contents.removed_instances, contents.runs) == (NOW, 0, 17)
    assert (contents.instance_days, contents.first_day, contents.last_day) == (3, TODAY - DAY, TODAY)
    assert contents.size == sum(file.stat().st_size for file in folder.glob(f"{FILE}*") if "shm" not in file.name)


@pytest.mark.parametrize("version", [3, 4])
def test_file_of_an_earlier_version_is_read_as_it_is(tmp_path: Path, version: int) -> None:
    file = tmp_path / FILE
    shutil.copy(Path(__file__).parent / "data" / f"version-{version}.sqlite3", file)
    with closing(SavedState.of_folder(tmp_path)) as state:
        contents = state.check()
        assert (contents.version, contents.instances > 0) == (version, True)
        names = [(found.project, found.name) for found in state.instances(TODAY, TODAY)]
    assert ("museum", "healthy") in names
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (version,)


def damage_a_day(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE instance_day SET body = x'00'")


def damage_a_record(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE record SET body = '{'")


def damage_a_page(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'instance_day'").fetchone()
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    file.write_bytes(content)


def replace_it(file: Path) -> None:
    file.write_bytes(b"this is not a database" * 100)


@pytest.mark.parametrize("damage", [damage_a_day, damage_a_record, damage_a_page, replace_it])
def test_damage_is_found(folder: Path, damage: Callable[[Path], None]) -> None:
    damage(folder / FILE)

    def check() -> None:
        with closing(SavedState.of_folder(folder)) as state:
            state.check()

    def read() -> list[SavedInstance]:
        with closing(SavedState.of_folder(folder)) as state:
            return state.instances(TODAY - DAY, TODAY)

    for use in (check, read):
        with pytest.raises(SavedStateError, match=f"{FILE} is damaged: "):
            use()


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("PRAGMA user_version = 99", f"has version 99, this release reads versions up to {VERSION}"),
        ("PRAGMA application_id = 7", "is not a state file of this exporter"),
    ],
)
def test_file_of_another_release_or_program_is_refused(folder: Path, statement: str, message: str) -> None:
    with closing(sqlite3.connect(folder / FILE)) as connection, connection:
        connection.execute(statement)
    with pytest.raises(SavedStateError, match=message):
        SavedState.of_folder(folder)


def test_folder_without_state_is_refused_and_not_created(tmp_path: Path) -> None:
    with pytest.raises(SavedStateError, match=r"no state in .*none: ledger.sqlite3 is not there; name the folder with"):
        SavedState.of_folder(tmp_path / "none")
    assert not (tmp_path / "none").exists()
