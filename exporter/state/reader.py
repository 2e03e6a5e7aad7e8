"""A state file opened read-only, also beside an exporter that uses it: its content, and whether it is sound."""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import Self
from urllib.parse import quote

from exporter.errors import UserError
from exporter.facts.daily import InstanceDay, ProjectDay
from exporter.facts.record import Record
from exporter.state import day_rows, rows
from exporter.state.sqlite import APPLICATION_ID, FILE, MIGRATIONS, VERSION, read_collected, read_scans

_FIRST_WITH_DAYS = 4  # the first version that has a daily record
_FIRST_WITH_COLLECTED = 5
_NEVER = (None, None)  # the first and last day of an instance without days


class SavedStateError(UserError):
    """A state file that is not there, is damaged, or cannot be read by this release."""


@dataclass(frozen=True, slots=True)
class SavedInstance:
    """An instance in a state file, with its days in a period, oldest first.

    It was `present` at the last poll of its project; then `created` is when the API says that it was created.
    `first_day` and `last_day` are the first and last of all its recorded days, `project_since` is the first one of its
    project, and `project_days` are those of its project in the period.
    """

    project: str
    name: str
    days: Sequence[tuple[ProjectDay, InstanceDay]]
    present: bool = False
    created: datetime | None = None
    first_day: date | None = None
    last_day: date | None = None
    project_since: date | None = None
    project_days: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Contents:
    """What a state file contains. `version` is that of its format, `size` is in bytes, with the log beside it."""

    version: int
    size: int
    projects: int
    last_read: datetime | None
    instances: int
    removed_instances: int
    runs: int
    instance_days: int
    first_day: date | None
    last_day: date | None
    searches: int


class SavedState:
    """A state file as it was when it was opened. Every method raises SavedStateError."""

    def __init__(self, file: Path, connection: sqlite3.Connection, version: int) -> None:
        self.file, self.version, self._connection = file, version, connection

    @classmethod
    def of_folder(cls, folder: Path) -> Self:
        """The state file in a state folder."""
        file = folder / FILE
        if not file.is_file():
            raise SavedStateError(f"no state in {folder}: {FILE} is not there; name the folder with --state.path")
        return cls.open(file)

    @classmethod
    def open(cls, file: Path) -> Self:
        """A state file."""
        with _explained(file):
            connection = _connect(file)
        try:
            with _explained(file):
                (application_id,) = connection.execute("PRAGMA application_id").fetchone()
                (version,) = connection.execute("PRAGMA user_version").fetchone()
            if application_id != APPLICATION_ID:
                raise SavedStateError(f"{file} is not a state file of this exporter")
            if version != VERSION and version not in MIGRATIONS:
                raise SavedStateError(f"{file} has version {version}, this release reads versions up to {VERSION}")
        except BaseException:
            connection.close()
            raise
        return cls(file, connection, version)

    def close(self) -> None:
        """Release the file."""
        self._connection.close()

    def copy_to(self, file: Path) -> None:
        """Write a copy to a new file, in one piece: without a log beside it."""
        with _explained(self.file):
            self._connection.execute("COMMIT")
            self._connection.execute("VACUUM INTO ?", (str(file),))

    def instances(self, first: date, last: date) -> list[SavedInstance]:
        """The instances of the last polls, and those that were there in a period, by project and name.

        One that is gone was there from its first to its last recorded day, whether or not any is in the period.
        """
        with _explained(self.file):
            created = {(project, name): record.instance.created for project, name, record in self._records()}
            recorded = self._first_and_last_days()
            days, since = dict(self._days(first, last)), self._first_days_of_projects()
            of_projects = self._days_of_projects(first, last)
        there = {key for key, (first_day, last_day) in recorded.items() if first_day <= last and last_day >= first}
        return [
            SavedInstance(
                project,
                name,
                days.get((project, name), ()),
                present=(project, name) in created,
                created=created.get((project, name)),
                first_day=recorded.get((project, name), _NEVER)[0],
                last_day=recorded.get((project, name), _NEVER)[1],
                project_since=since.get(project),
                project_days=of_projects.get(project, frozenset()),
            )
            for project, name in sorted(created.keys() | there)
        ]

    def found_projects(self) -> frozenset[str]:
        """The projects that searches found last, without those in which the API was off."""
        if self.version < _FIRST_WITH_COLLECTED:
            return frozenset()
        with _explained(self.file):
            bodies = self._connection.execute("SELECT projects FROM search").fetchall()
            searches = [rows.decode_search(body) for (body,) in bodies]
        return frozenset(name for search in searches for name in set(search.projects) - set(search.api_disabled))

    def read_projects(self) -> frozenset[str]:
        """The projects that were ever read, and are not forgotten."""
        with _explained(self.file):
            return frozenset(project for (project,) in self._connection.execute("SELECT project FROM project"))

    def check(self) -> Contents:
        """Read everything, and check that it is sound."""
        with _explained(self.file):
            (result,) = self._connection.execute("PRAGMA integrity_check(1)").fetchone()
            if result != "ok":
                raise ValueError(result)
            scans = read_scans(self._connection).values()
            searches = 0
            if self.version >= _FIRST_WITH_COLLECTED:
                read_collected(self._connection)
                (searches,) = self._connection.execute("SELECT count(*) FROM search").fetchone()
            instance_days, first_day, last_day = self._check_days()
        records = [record for scan in scans for record in scan.records.values()]
        return Contents(
            version=self.version,
            size=sum(file.stat().st_size for file in (self.file, Path(f"{self.file}-wal")) if file.exists()),
            projects=len(scans),
            last_read=max((scan.read_at for scan in scans), default=None),
            instances=len(records),
            removed_instances=sum(len(scan.removed) for scan in scans),
            runs=sum(len(record.history.runs) for record in records),
            instance_days=instance_days,
            first_day=first_day,
            last_day=last_day,
            searches=searches,
        )

    def _records(self) -> Iterator[tuple[str, str, Record]]:
        for project, name, *row in self._connection.execute("SELECT project, instance, body, runs FROM record"):
            record = rows.decode_record(*row)
            if isinstance(record, Record):
                yield project, name, record

    def _days(self, first: date, last: date) -> Iterator[tuple[tuple[str, str], list[tuple[ProjectDay, InstanceDay]]]]:
        """The days of each instance that has any in a period."""
        if self.version < _FIRST_WITH_DAYS:
            return
        found = self._connection.execute(
            "SELECT project, name, day, observed, observed_until, body"
            " FROM instance_day JOIN instance ON id = instance JOIN project_day USING (project, day)"
            " WHERE day BETWEEN ? AND ? ORDER BY project, name, day",
            (first.toordinal(), last.toordinal()),
        )
        for key, of_instance in groupby(found, key=lambda row: (row[0], row[1])):
            yield (
                key,
                [
                    (
                        ProjectDay(date.fromordinal(day), observed, datetime.fromtimestamp(until, UTC)),
                        day_rows.decode(body),
                    )
                    for _, _, day, observed, until, body in of_instance
                ],
            )

    def _first_and_last_days(self) -> dict[tuple[str, str], tuple[date, date]]:
        """The first and last recorded day of each instance."""
        if self.version < _FIRST_WITH_DAYS:
            return {}
        found = self._connection.execute(
            "SELECT project, name, first, last FROM instance"
            " JOIN (SELECT instance, min(day) AS first, max(day) AS last FROM instance_day GROUP BY instance)"
            " ON id = instance"
        )
        return {
            (project, name): (date.fromordinal(first), date.fromordinal(last)) for project, name, first, last in found
        }

    def _first_days_of_projects(self) -> dict[str, date]:
        """The first recorded day of each project."""
        if self.version < _FIRST_WITH_DAYS:
            return {}
        found = self._connection.execute("SELECT project, min(day) FROM project_day GROUP BY project")
        return {project: date.fromordinal(day) for project, day in found}

    def _days_of_projects(self, first: date, last: date) -> dict[str, frozenset[date]]:
        """The recorded days of each project in a period."""
        if self.version < _FIRST_WITH_DAYS:
            return {}
        found = self._connection.execute(
            "SELECT project, day FROM project_day WHERE day BETWEEN ? AND ? ORDER BY project",
            (first.toordinal(), last.toordinal()),
        )
        return {
            project: frozenset(date.fromordinal(day) for _, day in of_project)
            for project, of_project in groupby(found, key=lambda row: row[0])
        }

    def _check_days(self) -> tuple[int, date | None, date | None]:
        """The number of recorded days of instances, and the first and last day. Raises ValueError for a damaged row."""
        if self.version < _FIRST_WITH_DAYS:
            return 0, None, None
        number = 0
        for (body,) in self._connection.execute("SELECT body FROM instance_day"):
            day_rows.decode(body)
            number += 1
        first, last = self._connection.execute("SELECT min(day), max(day) FROM instance_day").fetchone()
        return number, first and date.fromordinal(first), last and date.fromordinal(last)


def _connect(file: Path) -> sqlite3.Connection:
    """Open a file read-only, as it is now. Raises sqlite3.Error."""
    uri = f"file:{quote(str(file.absolute()))}?mode=ro"
    try:
        return _begin(uri)
    except sqlite3.OperationalError:
        # A file in WAL mode needs files beside it, which cannot be created in a folder that is read-only.
        if Path(f"{file}-wal").exists() or not file.is_file():
            raise
        return _begin(f"{uri}&immutable=1")


def _begin(uri: str) -> sqlite3.Connection:
    connection = sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)
    try:
        connection.execute("BEGIN")
        connection.execute("SELECT count(*) FROM sqlite_schema")  # what is written from now on is not seen
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Turn errors of SQLite, and of rows that cannot be decoded, into SavedStateError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise SavedStateError(f"cannot read {file}: {error}") from error
    except (sqlite3.DatabaseError, ValueError) as error:
        raise SavedStateError(f"{file} is damaged: {str(error).splitlines()[0]}") from error
