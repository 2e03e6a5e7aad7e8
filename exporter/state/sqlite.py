"""The ledger in an SQLite file. The only module with SQL; docs/decisions/ explains the settings of SQLite."""

import fcntl
import itertools
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Self

from exporter.errors import UserError
from exporter.facts.collected import Collected
from exporter.facts.daily import DailyRecord, InstanceDay, ProjectDay
from exporter.facts.record import ProjectScan, Record, RemovedInstance
from exporter.facts.snapshot import SavedSearch
from exporter.state import daily_tables, rows
from exporter.state.daily_tables import DEFAULT_HISTORY, DailyTables
from exporter.state.ledger import Ledger, MemoryLedger, expired_projects

log = logging.getLogger(__name__)

APPLICATION_ID = 0x43534245  # "CSBE", which identifies the file
VERSION = 5
FILE, LOCK = "ledger.sqlite3", "lock"
FOLDER_MODE = 0o700  # of a new folder
_COLLECTED = """
CREATE TABLE collected (project TEXT PRIMARY KEY, body BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE search (query TEXT PRIMARY KEY, projects TEXT NOT NULL) WITHOUT ROWID;
"""
SCHEMA = f"""
BEGIN IMMEDIATE;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
{daily_tables.SCHEMA}{_COLLECTED}
CREATE TABLE project (project TEXT PRIMARY KEY, read_at TEXT NOT NULL, scan BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE record (
    project TEXT NOT NULL, instance TEXT NOT NULL, body BLOB NOT NULL, runs BLOB NOT NULL,
    PRIMARY KEY (project, instance)
) WITHOUT ROWID;
COMMIT;
"""
MIGRATIONS = {  # the statements that change a file of a version into one of the next
    3: f"BEGIN IMMEDIATE; {daily_tables.SCHEMA} PRAGMA user_version = 4; COMMIT;",
    4: f"BEGIN IMMEDIATE; {_COLLECTED} PRAGMA user_version = 5; COMMIT;",
}
_NOT_CORRUPTION = {  # errors of SQLite that say nothing about the file's content
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
}
_FILE_REMOVED = "the state file was removed: counters from now on are lost at the next start, which creates a new file"


class StateInUseError(UserError):
    """Another exporter uses the state folder."""


class StateError(Exception):
    """The state folder cannot be used."""


class CorruptStateError(StateError):
    """The content of the state file is damaged."""


def open_ledger(folder: Path | None, history: timedelta = DEFAULT_HISTORY) -> Ledger:
    """The ledger in a folder; one in memory if that cannot be used, which is logged.

    Days are stored for `history`. A damaged file is renamed, so that the next start creates a new one. Raises
    StateInUseError.
    """
    if folder is None:
        return MemoryLedger()
    try:
        return SqliteLedger.open(folder, history)
    except CorruptStateError as error:
        reason = f"is damaged ({error}) and {_quarantine(folder / FILE)}"
    except StateError as error:
        reason = f"cannot be used: {error}"
    log.error(
        "the state in %s %s; state is in memory only: counters restart from zero at the next start", folder, reason
    )
    return MemoryLedger()


class SqliteLedger:
    """A ledger in an SQLite file. Safe to share between threads."""

    def __init__(self, file: Path, connection: sqlite3.Connection, folder_lock: int, history: timedelta) -> None:
        self._file, self._connection, self._folder_lock = file, connection, folder_lock
        self._lock = threading.Lock()
        self._scans = read_scans(connection)
        self._collected = read_collected(connection)
        self._daily = DailyTables(connection, history)
        self.persistent = True

    @classmethod
    def open(cls, folder: Path, history: timedelta = DEFAULT_HISTORY) -> Self:
        """Open or create the file. Raises StateInUseError, StateError or CorruptStateError."""
        with ExitStack() as undo:
            try:
                folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
                lock = lock_folder(folder / LOCK)
                undo.callback(os.close, lock)
                connection = _connect(folder / FILE)
                undo.callback(connection.close)
                ledger = cls(folder / FILE, connection, lock, history)
            except OSError as error:
                raise StateError(str(error)) from error
            except (sqlite3.DatabaseError, ValueError) as error:  # a row that cannot be decoded is a ValueError
                if isinstance(error, sqlite3.Error) and error.sqlite_errorcode & 0xFF in _NOT_CORRUPTION:
                    raise StateError(str(error)) from error
                raise CorruptStateError(str(error).splitlines()[0]) from error
            undo.pop_all()
            return ledger

    def close(self) -> None:
        """Release the file and the folder, once a write in progress has ended."""
        with self._lock:
            self._connection.close()
        os.close(self._folder_lock)

    def scans(self) -> Mapping[str, ProjectScan]:
        """The saved scans, by project."""
        return dict(self._scans)

    def last_scan(self, project: str) -> ProjectScan | None:
        """The last scan of a project."""
        return self._scans.get(project)

    def collected(self, project: str) -> Collected:
        """What was last collected about a project, without the status."""
        return self._collected.get(project, Collected())

    def searches(self) -> Mapping[str, SavedSearch]:
        """What each search had found before the start, by its query."""
        with self._lock:
            try:
                saved = self._connection.execute("SELECT query, projects FROM search").fetchall()
                return {query: rows.decode_search(body) for query, body in saved}
            except (sqlite3.Error, ValueError) as error:
                log.error("cannot read the projects that were found before the start: %s", error)
                return {}

    def daily_record(self, project: str) -> DailyRecord | None:
        """The last daily record of a project."""
        with self._lock:
            try:
                return self._daily.latest(project)
            except (sqlite3.Error, ValueError) as error:
                log.error("cannot read the daily record of project %s: %s", project, error)
                return None

    def days(self, project: str, instance: str, first: date, last: date) -> Sequence[tuple[ProjectDay, InstanceDay]]:
        """The recorded days of an instance, from one to another, oldest first."""
        with self._lock:
            try:
                return self._daily.read(project, instance, first, last)
            except (sqlite3.Error, ValueError) as error:
                log.error("cannot read the daily record of %s:%s: %s", project, instance, error)
                return []

    def save(
        self,
        project: str,
        scan: ProjectScan | None,
        days: Sequence[DailyRecord] = (),
        collected: Collected | None = None,
    ) -> None:
        """Write what differs from what is saved, in one transaction."""
        collected = None if collected == self.collected(project) else collected
        days = self._daily.with_unsaved(project, days)

        def write(connection: sqlite3.Connection) -> None:
            if scan:
                self._write_scan(connection, project, scan)
            if collected:
                statement = "INSERT OR REPLACE INTO collected (project, body) VALUES (?, ?)"
                connection.execute(statement, (project, rows.encode_collected(collected)))
            self._daily.write(project, days)

        if self._try_write(write):
            self._daily.saved(project, days)
            if scan:
                self._scans[project] = scan
            if collected:
                self._collected[project] = collected

    def save_search(self, query: str, search: SavedSearch | None) -> None:
        """Replace what a search found; None deletes the search."""

        def write(connection: sqlite3.Connection) -> None:
            connection.execute("DELETE FROM search WHERE query = ?", (query,))
            if search is not None:
                values = (query, rows.encode_search(search))
                connection.execute("INSERT INTO search (query, projects) VALUES (?, ?)", values)

        self._try_write(write)

    def _write_scan(self, connection: sqlite3.Connection, project: str, scan: ProjectScan) -> None:
        before = _instances(self._scans.get(project))
        after = _instances(scan)
        changed = {name: rows.encode_record(record) for name, record in after.items() if before.get(name) is not record}
        statement = "INSERT OR REPLACE INTO project (project, read_at, scan) VALUES (?, ?, ?)"
        connection.execute(statement, (project, scan.read_at.isoformat(), rows.encode_scan(scan)))
        connection.executemany(
            "INSERT OR REPLACE INTO record (project, instance, body, runs) VALUES (?, ?, ?, ?)",
            ((project, name, *row) for name, row in changed.items()),
        )
        connection.executemany(
            "DELETE FROM record WHERE project = ? AND instance = ?",
            ((project, name) for name in before.keys() - after.keys()),
        )

    def forget(self, targeted: Collection[str], now: datetime) -> None:
        """Delete expired projects."""
        expired = expired_projects(self._scans, targeted, now)
        if not expired:
            return

        def write(connection: sqlite3.Connection) -> None:
            for statement in (
                "DELETE FROM record WHERE project = ?",
                "DELETE FROM collected WHERE project = ?",
                "DELETE FROM project WHERE project = ?",
            ):
                connection.executemany(statement, ((project,) for project in expired))

        if self._try_write(write):
            for project in expired:
                del self._scans[project]
                self._collected.pop(project, None)

    def _try_write(self, write: Callable[[sqlite3.Connection], None]) -> bool:
        with self._lock:
            try:
                with _transaction(self._connection):
                    write(self._connection)
            except (sqlite3.Error, ValueError) as error:  # a damaged row is a ValueError
                if self.persistent:
                    log.error("cannot write state: %s; keeping it in memory until writes succeed", error)
                self.persistent = False
                return False
            exists = self._file.exists()
            if exists != self.persistent:
                log.log(*((logging.INFO, "state is persistent again") if exists else (logging.ERROR, _FILE_REMOVED)))
            self.persistent = exists
            return True


def _instances(scan: ProjectScan | None) -> dict[str, Record | RemovedInstance]:
    return {**scan.records, **scan.removed} if scan else {}


def read_scans(connection: sqlite3.Connection) -> dict[str, ProjectScan]:
    """The saved scans, by project. Raises sqlite3.Error or ValueError where they are damaged."""
    instances: dict[str, dict[str, Record | RemovedInstance]] = {}
    for project, name, *row in connection.execute("SELECT project, instance, body, runs FROM record"):
        instances.setdefault(project, {})[name] = rows.decode_record(*row)
    return {
        project: rows.decode_scan(body, instances.get(project, {}))
        for project, body in connection.execute("SELECT project, scan FROM project")
    }


def read_collected(connection: sqlite3.Connection) -> dict[str, Collected]:
    """What was last collected about each project. Raises sqlite3.Error or ValueError where it is damaged."""
    found = connection.execute("SELECT project, body FROM collected")
    return {project: rows.decode_collected(body) for project, body in found}


def _connect(file: Path) -> sqlite3.Connection:
    """Open the file, or create it. Raises sqlite3.Error, OSError, ValueError or StateError."""
    connection = sqlite3.connect(file, timeout=2, isolation_level=None, check_same_thread=False)
    try:
        if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone() == (0,):
            connection.executescript(SCHEMA)
        _check(connection, file)
        migrate(connection)
        _check_tables(connection)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            pass  # fails at once if the file is locked or read-only
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, file: Path) -> None:
    """Raises StateError for a file of another program or release."""
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    advice = "move it away, or name another folder in state.path"
    if application_id != APPLICATION_ID:
        raise StateError(f"{file} is not a state file of this exporter; {advice}")
    if version != VERSION and version not in MIGRATIONS:
        raise StateError(f"{file} has version {version}, this release reads version {VERSION}; {advice}")


def _check_tables(connection: sqlite3.Connection) -> None:
    """Raises ValueError where a table that is read at the start is damaged; the daily record can be much larger."""
    for table in ("project", "record", "collected"):
        (result,) = connection.execute(f"PRAGMA quick_check({table})").fetchone()
        if result != "ok":
            raise ValueError(result)


def migrate(connection: sqlite3.Connection) -> None:
    """Change a file of an earlier version into one of this version."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    while version != VERSION:
        connection.executescript(MIGRATIONS[version])
        version += 1


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


def lock_folder(file: Path) -> int:
    """A lock that ends with the process, however that ends. Raises StateInUseError or OSError."""
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        advice = "stop it, or name another folder with state.path or --state.path"
        raise StateInUseError(f"another exporter uses the state in {file.parent}; {advice}") from None
    return descriptor


def _quarantine(file: Path) -> str:
    """Rename a damaged file, and those of SQLite beside it; returns a description of the outcome."""
    target = next(path for n in itertools.count() if not (path := file.with_name(f"{file.name}.damaged-{n}")).exists())
    try:
        for suffix in ("", "-wal", "-shm"):
            part = Path(f"{file}{suffix}")
            if part.exists():
                part.rename(f"{target}{suffix}")
    except OSError as error:
        return f"cannot be renamed: {error}"
    return f"was renamed to {target.name}"
