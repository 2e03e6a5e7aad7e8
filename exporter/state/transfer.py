"""Export and import of the state: a copy of the state file, checked, and never half-written."""

import os
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from exporter.state.reader import Contents, SavedState, SavedStateError
from exporter.state.sqlite import FILE, FOLDER_MODE, LOCK, lock_folder, migrate


def export_state(folder: Path, target: Path) -> Contents:
    """Copy the state of a folder that no exporter uses into a new file. Returns what it contains.

    Raises StateInUseError, SavedStateError or OSError.
    """
    if target.exists():
        raise SavedStateError(f"{target} exists already; name a new file")
    with closing(SavedState.of_folder(folder)):
        pass  # else the lock would be created in a folder without state
    with _locked(folder), closing(SavedState.of_folder(folder)) as state, _new_file(target) as temporary:
        contents = state.check()
        state.copy_to(temporary)
    return contents


def import_state(source: Path, folder: Path) -> Contents:
    """Copy an exported file into a folder without state, and migrate it to the present version. Returns its content.

    Raises StateInUseError, SavedStateError or OSError.
    """
    if not source.is_file():
        raise SavedStateError(f"{source} is not a file")
    with closing(SavedState.open(source)) as state:
        state.check()
        folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        target = folder / FILE
        with _locked(folder):
            if any(Path(f"{target}{suffix}").exists() for suffix in ("", "-wal", "-journal")):
                raise SavedStateError(f"{folder} has state already; name another folder, or move {target} away")
            with _new_file(target) as temporary:
                state.copy_to(temporary)
                with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
                    migrate(connection)
                with closing(SavedState.open(temporary)) as migrated:
                    return migrated.check()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Use a state folder, while no exporter does. Raises StateInUseError."""
    lock = lock_folder(folder / LOCK)
    try:
        yield
    finally:
        os.close(lock)


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A file to write, which then gets the name of the target; there is none before, and it is not replaced."""
    with tempfile.TemporaryDirectory(dir=target.absolute().parent, prefix=f".{target.name}.") as folder:
        temporary = Path(folder) / target.name
        yield temporary
        descriptor = os.open(temporary, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.chmod(0o600)
        try:
            target.hardlink_to(temporary)
        except OSError:
            if target.exists():
                raise SavedStateError(f"{target} exists already; name a new file") from None
            temporary.rename(target)  # a file system without links
    directory = os.open(target.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
