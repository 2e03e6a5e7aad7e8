"""Export and import of the state: complete or not at all, and only where nothing is overwritten."""

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from exporter.state.ledger import Ledger
from exporter.state.reader import SavedState, SavedStateError
from exporter.state.sqlite import FILE, VERSION, StateInUseError, open_ledger
from exporter.state.transfer import export_state, import_state
from tests.state.test_daily import TODAY, read
from tests.state.test_reader import EXPECTED, damage_a_day, folder, found, replace_it

__all__ = ["folder"]  # a fixture


def everything(ledger: Ledger) -> tuple[object, ...]:
    return ledger.scans(), ledger.searches(), ledger.daily_record("shop-prod"), read(ledger, "failing")


def test_imported_state_is_that_which_was_exported(folder: Path, tmp_path: Path) -> None:
    exported, target = tmp_path / "backup.sqlite3", tmp_path / "restored" / "state"
    assert export_state(folder, exported).instance_days == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.sqlite3", "data"]
    assert oct(exported.stat().st_mode & 0o777) == "0o600"
    assert import_state(exported, target).instance_days == 3
    assert sorted(path.name for path in target.iterdir()) == [FILE, "lock"]
    assert oct(target.stat().st_mode & 0o777) == "0o700"
    with closing(open_ledger(folder)) as before, closing(open_ledger(target)) as after:
        assert after.persistent
        assert everything(after) == everything(before)


def test_what_is_in_the_log_only_is_exported(folder: Path, tmp_path: Path) -> None:
    """After kill -9 the last changes are in the write-ahead log beside the file."""
    with closing(sqlite3.connect(folder / FILE)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        with writer:
            writer.execute("DELETE FROM instance_day WHERE day < ?", (TODAY.toordinal(),))
        killed = tmp_path / "killed"
        shutil.copytree(folder, killed)
    assert Path(f"{killed / FILE}-wal").stat().st_size
    export_state(killed, tmp_path / "backup.sqlite3")
    with closing(SavedState.open(tmp_path / "backup.sqlite3")) as state:
        assert found(state)["failing"] == (EXPECTED["failing"][0][1:], True)


@pytest.mark.parametrize("version", [3, 4, VERSION])
def test_exported_file_of_an_earlier_version_is_migrated(tmp_path: Path, version: int) -> None:
    if version == VERSION:
        open_ledger(tmp_path / "now").close()
        source = tmp_path / "now" / FILE
    else:
        source = tmp_path / "backup.sqlite3"
        shutil.copy(Path(__file__).parent / "data" / f"version-{version}.sqlite3", source)
    content = source.read_bytes()
    assert import_state(source, tmp_path / "data").version == VERSION
    assert source.read_bytes() == content
    with closing(open_ledger(tmp_path / "data")) as ledger:
        assert ledger.persistent


def test_state_in_use_is_neither_exported_nor_replaced(folder: Path, tmp_path: Path) -> None:
    export_state(folder, tmp_path / "backup.sqlite3")
    with closing(open_ledger(folder)):
        with pytest.raises(StateInUseError, match="another exporter uses the state"):
            export_state(folder, tmp_path / "other.sqlite3")
        with pytest.raises(StateInUseError):
            import_state(tmp_path / "backup.sqlite3", folder)
    assert not (tmp_path / "other.sqlite3").exists()
    with closing(open_ledger(tmp_path / "new")):
        (tmp_path / "new" / FILE).unlink()
        with pytest.raises(StateInUseError):
            import_state(tmp_path / "backup.sqlite3", tmp_path / "new")


def test_nothing_is_overwritten(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "backup.sqlite3").write_text("mine")
    with pytest.raises(SavedStateError, match=r"backup.sqlite3 exists already; name a new file"):
        export_state(folder, tmp_path / "backup.sqlite3")
    assert (tmp_path / "backup.sqlite3").read_text() == "mine"
    export_state(folder, tmp_path / "second.sqlite3")
    content = (folder / FILE).read_bytes()
    with pytest.raises(SavedStateError, match=r"data has state already; name another folder"):
        import_state(tmp_path / "second.sqlite3", folder)
    assert (folder / FILE).read_bytes() == content


def test_a_file_that_appears_while_the_copy_is_made_is_not_overwritten(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "backup.sqlite3"
    monkeypatch.setattr(os, "fsync", lambda _descriptor: target.write_text("mine"))
    with pytest.raises(SavedStateError, match="exists already"):
        export_state(folder, target)
    assert target.read_text() == "mine"


def test_a_file_system_without_links_is_written_too(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_self: Path, _target: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    export_state(folder, tmp_path / "backup.sqlite3")
    with closing(SavedState.open(tmp_path / "backup.sqlite3")) as state:
        assert found(state) == EXPECTED


def test_an_export_that_fails_leaves_nothing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_self: SavedState, file: Path) -> None:
        file.write_bytes(b"SQLite format 3")
        raise SavedStateError("disk full")

    monkeypatch.setattr(SavedState, "copy_to", full)
    with pytest.raises(SavedStateError, match="disk full"):
        export_state(folder, tmp_path / "backup.sqlite3")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_damaged_state_is_neither_exported_nor_imported(folder: Path, tmp_path: Path) -> None:
    export_state(folder, tmp_path / "backup.sqlite3")
    damage_a_day(folder / FILE)
    with pytest.raises(SavedStateError, match="is damaged"):
        export_state(folder, tmp_path / "other.sqlite3")
    for damage in (damage_a_day, replace_it):
        damage(tmp_path / "backup.sqlite3")
        with pytest.raises(SavedStateError, match="is damaged"):
            import_state(tmp_path / "backup.sqlite3", tmp_path / "new")
    assert not (tmp_path / "other.sqlite3").exists()
    assert not (tmp_path / "new").exists()


def test_missing_state_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SavedStateError, match="no state in"):
        export_state(tmp_path / "none", tmp_path / "backup.sqlite3")
    with pytest.raises(SavedStateError, match=r"none.sqlite3 is not a file"):
        import_state(tmp_path / "none.sqlite3", tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
