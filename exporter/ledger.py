"""What must survive a restart: the last facts of each project and what has been counted. The only place with SQL.

One poll's effects land in one transaction, before anybody can see them: a counter that was shown never goes back.
Why these settings of SQLite: docs/decisions/0003-state.md.
"""

import fcntl
import logging
import os
import sqlite3
import threading
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from exporter.history import history
from exporter.model import Instance
from exporter.runs import Runs
from exporter.scan import Departed, ProjectScan, Record
from exporter.tally import FORGET_AFTER, Account

log = logging.getLogger(__name__)

APPLICATION_ID = 0x43534245  # "CSBE", so that a foreign file is known
VERSION = 2
_SOUND = {  # what SQLite says where the file itself may be sound
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
FILE, LOCK = "ledger.sqlite3", "lock"
SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
CREATE TABLE project (project TEXT PRIMARY KEY, taken TEXT NOT NULL, scan BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
    project TEXT NOT NULL, instance TEXT NOT NULL, body BLOB NOT NULL, runs BLOB NOT NULL,
    PRIMARY KEY (project, instance)
) WITHOUT ROWID;
COMMIT;
"""


class StateInUseError(Exception):
    """Another exporter keeps its state in the same folder."""


class Ledger(Protocol):
    """Keeps the last scan of each project."""

    @property
    def persistent(self) -> bool:
        """What is saved now survives a restart."""

    def load(self) -> Mapping[str, ProjectScan]:
        """The scans kept from before, by project."""

    def kept(self, project: str) -> ProjectScan | None:
        """The scan kept of a project, which may not have been targeted for a while."""

    def save(self, project: str, scan: ProjectScan) -> None:
        """Keep a scan in place of the project's last one. Trouble is logged, and shown by `persistent`."""

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Let go of projects that are no longer targeted and were last read a week ago."""


class MemoryLedger:
    """Facts and counters live as long as the process."""

    persistent = False

    def __init__(self) -> None:
        self._saved: dict[str, ProjectScan] = {}

    def load(self) -> Mapping[str, ProjectScan]:
        """Nothing is kept from before."""
        return {}

    def kept(self, project: str) -> ProjectScan | None:
        """The scan kept of a project."""
        return self._saved.get(project)

    def save(self, project: str, scan: ProjectScan) -> None:
        """Keep it, as long as the process lives."""
        self._saved[project] = scan

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Let go of what nobody asked for any more for a week."""
        for project in _forgotten(self._saved, targeted, now):
            del self._saved[project]


@dataclass(frozen=True, slots=True)
class _Head:
    """A scan without its instances."""

    taken: datetime
    listed_in_full: datetime
    ordered: bool
    unreachable_regions: tuple[str, ...]
    carried: dict[str, datetime]


@dataclass(frozen=True, slots=True)
class _Row:
    """One instance as kept beside its packed runs: there now, or departed with nothing left but its account."""

    account: Account
    instance: Instance | None = None
    texts: tuple[str, ...] = ()  # those of the runs
    check: int = 0  # CRC-32 of the packed runs
    departed: datetime | None = None


_HEAD, _ROW = TypeAdapter(_Head), TypeAdapter(_Row)


def open_ledger(folder: Path | None) -> Ledger:
    """The ledger in a folder; one in memory where there is none to be had, which is logged.

    Raises StateInUseError where another exporter uses the folder.
    """
    if folder is None:
        return MemoryLedger()
    file = folder / FILE
    with ExitStack() as undo:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            lock = _locked(folder / LOCK)
            undo.callback(os.close, lock)
            connection = _connected(file)
            undo.callback(connection.close)
            ledger = SqliteLedger(file, connection, lock)
            ledger.load()
        except OSError as error:
            _complain(folder, f"cannot be used: {error}")
        except _ForeignError as error:
            _complain(folder, f"cannot be used: {error}; move it away, or name another folder in state.path")
        except (sqlite3.DatabaseError, ValueError) as error:  # a row that does not fit is a ValueError
            undo.close()
            if isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF in _SOUND:
                _complain(folder, f"cannot be used: {error}")
            else:
                _complain(folder, f"is damaged ({_first_line(error)}) and {_set_aside(file)}")
        else:
            undo.pop_all()
            return ledger
    return MemoryLedger()


class SqliteLedger:
    """A ledger in an SQLite file. Safe to share between threads."""

    def __init__(self, file: Path, connection: sqlite3.Connection, lock: int) -> None:
        self._file, self._connection, self._folder_lock = file, connection, lock
        self._lock = threading.Lock()
        self._saved: dict[str, ProjectScan] = {}
        self.persistent = True

    def close(self) -> None:
        """Let go of the file and the folder."""
        self._connection.close()
        os.close(self._folder_lock)

    def load(self) -> Mapping[str, ProjectScan]:
        """The scans kept from before, by project. Raises sqlite3.Error or ValidationError where they are damaged."""
        if not self._saved:
            kept: dict[str, dict[str, Record | Departed]] = {}
            for project, name, *row in self._connection.execute("SELECT project, instance, body, runs FROM record"):
                kept.setdefault(project, {})[name] = _kept(*row)
            for project, body in self._connection.execute("SELECT project, scan FROM project"):
                self._saved[project] = _whole(_HEAD.validate_json(body), kept.get(project, {}))
        return dict(self._saved)

    def kept(self, project: str) -> ProjectScan | None:
        """The scan kept of a project."""
        return self._saved.get(project)

    def save(self, project: str, scan: ProjectScan) -> None:
        """Write what differs from what is kept, all or nothing."""
        before = self._saved.get(project)
        rows, gone = _changes(before, scan)
        head = _HEAD.dump_json(
            _Head(scan.taken, scan.listed_in_full, scan.ordered, scan.unreachable_regions, dict(scan.carried))
        )

        def write(connection: sqlite3.Connection) -> None:
            statement = "INSERT OR REPLACE INTO project (project, taken, scan) VALUES (?, ?, ?)"
            connection.execute(statement, (project, scan.taken.isoformat(), head))
            connection.executemany(
                "INSERT OR REPLACE INTO record (project, instance, body, runs) VALUES (?, ?, ?, ?)",
                ((project, name, _ROW.dump_json(row), packed) for name, (row, packed) in rows.items()),
            )
            connection.executemany(
                "DELETE FROM record WHERE project = ? AND instance = ?", ((project, name) for name in gone)
            )

        if self._written(write):
            self._saved[project] = scan

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete what nobody asked for any more for a week."""
        old = _forgotten(self._saved, targeted, now)
        if not old:
            return

        def write(connection: sqlite3.Connection) -> None:
            for table in ("record", "project"):
                connection.executemany(f"DELETE FROM {table} WHERE project = ?", ((p,) for p in old))  # noqa: S608 (two fixed words)

        if self._written(write):
            for project in old:
                del self._saved[project]

    def _written(self, write: Callable[[sqlite3.Connection], None]) -> bool:
        with self._lock:
            try:
                with _transaction(self._connection):
                    write(self._connection)
            except sqlite3.Error as error:
                if self.persistent:
                    log.error("state cannot be kept: %s; counters go on in memory until it can", error)
                self.persistent = False
                return False
            there = self._file.exists()
            if there != self.persistent:
                log.log(*((logging.INFO, "state is kept again") if there else (logging.ERROR, _GONE)))
            self.persistent = there
            return True


def _forgotten(saved: Mapping[str, ProjectScan], targeted: Collection[str], now: datetime) -> list[str]:
    return [p for p, scan in saved.items() if p not in targeted and now - scan.taken > FORGET_AFTER]


_GONE = "the state file was removed: what is counted from now on is lost at the next start, which makes a new one"


class _ForeignError(Exception):
    """A file that this release did not write."""


def _connected(file: Path) -> sqlite3.Connection:
    """The opened file, made where there is none. Raises sqlite3.Error, OSError or _ForeignError."""
    connection = sqlite3.connect(file, timeout=2, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            connection.executescript(SCHEMA)
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if application != APPLICATION_ID:
            raise _ForeignError(f"{file} is not a ledger of this exporter")
        if version != VERSION:
            raise _ForeignError(f"{file} is of version {version}, this release reads version {VERSION}")
        (checked,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        if checked != "ok":
            raise ValueError(checked)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            pass  # says at once if the file is locked or cannot be written
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _locked(file: Path) -> int:
    """A lock on the folder that ends with the process, however that ends. Raises StateInUseError or OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        hint = "stop it, or name another folder with state.path or --state.path"
        raise StateInUseError(f"another exporter keeps its state in {file.parent}; {hint}") from None
    return descriptor


def _kept(body: bytes, packed: bytes) -> Record | Departed:
    """What a row of the record table says. Raises ValueError where it is damaged."""
    row = _ROW.validate_json(body)
    if row.departed:
        return Departed(row.account, row.departed)
    if row.instance is None:
        raise ValueError("a record without its instance")
    if zlib.crc32(packed) != row.check:
        raise ValueError(f"the runs of {row.instance.id} are not what they were")
    return Record(row.instance, history(Runs(packed, row.texts)), row.account)


def _whole(head: _Head, kept: Mapping[str, Record | Departed]) -> ProjectScan:
    """A scan put together from its parts."""
    return ProjectScan(
        taken=head.taken,
        listed_in_full=head.listed_in_full,
        ordered=head.ordered,
        unreachable_regions=head.unreachable_regions,
        carried=head.carried,
        records={name: record for name, record in kept.items() if isinstance(record, Record)},
        departed={name: gone for name, gone in kept.items() if isinstance(gone, Departed)},
    )


def _changes(before: ProjectScan | None, scan: ProjectScan) -> tuple[dict[str, tuple[_Row, bytes]], set[str]]:
    """Rows that are new or not the same object as before, and names of those that go."""
    kept: dict[str, Record | Departed] = {**before.records, **before.departed} if before else {}
    rows = {
        name: (
            _Row(record.account, record.instance, (runs := record.history.runs).texts, zlib.crc32(runs.packed)),
            runs.packed,
        )
        for name, record in scan.records.items()
        if kept.get(name) is not record
    }
    rows |= {
        name: (_Row(gone.account, departed=gone.at), b"")
        for name, gone in scan.departed.items()
        if kept.get(name) is not gone
    }
    return rows, kept.keys() - scan.records.keys() - scan.departed.keys()


def _set_aside(file: Path) -> str:
    """Move a damaged file, and what SQLite keeps beside it, out of the way; says what became of it."""
    for number in range(1000):
        aside = file.with_name(f"{file.name}.damaged-{number}")
        if not aside.exists():
            break
    try:
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{file}{suffix}")
            if part.exists():
                part.rename(f"{aside}{suffix}")
    except OSError as error:
        return f"cannot be set aside: {error}"
    return f"was set aside as {aside.name}"


def _complain(folder: Path, text: str) -> None:
    log.error("the state in %s %s; running on in memory: counters will begin anew at the next start", folder, text)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0]
