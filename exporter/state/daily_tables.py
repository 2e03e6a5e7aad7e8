"""The daily record in the tables of the state file."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from exporter.facts.daily import DailyRecord, InstanceDay, ProjectDay
from exporter.facts.model import RunStatus
from exporter.state import day_rows

SCHEMA = """
CREATE TABLE instance (id INTEGER PRIMARY KEY, project TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (project, name));
CREATE TABLE instance_day (
    day INTEGER, instance INTEGER REFERENCES instance, body BLOB NOT NULL, PRIMARY KEY (day, instance)
) WITHOUT ROWID;
CREATE TABLE project_day (
    project TEXT, day INTEGER, observed REAL NOT NULL, observed_until REAL NOT NULL, PRIMARY KEY (project, day)
) WITHOUT ROWID;
"""
DEFAULT_HISTORY = timedelta(days=400)
MAX_UNSAVED_DAYS = 14


class DailyTables:
    """Reads and writes daily records; the caller holds the transaction. Nothing is read before it is needed.

    Every method raises sqlite3.Error, or ValueError for a damaged row.
    """

    def __init__(self, connection: sqlite3.Connection, history: timedelta) -> None:
        self._connection, self._history = connection, history
        self._unsaved: dict[str, list[DailyRecord]] = {}
        self._expired_on: date | None = None
        self._latest: dict[str, DailyRecord | None] = {}

    def latest(self, project: str) -> DailyRecord | None:
        """The record of a project that was saved last."""
        if project not in self._latest:
            self._latest[project] = self._read_latest(project)
        return self._latest[project]

    def with_unsaved(self, project: str, days: Sequence[DailyRecord]) -> Sequence[DailyRecord]:
        """The records of consecutive days, preceded by those that could not be written before."""
        earlier = [
            record for record in self._unsaved.get(project, ()) if days and record.project.day < days[0].project.day
        ]
        self._unsaved[project] = [*earlier, *days][-MAX_UNSAVED_DAYS:]
        return self._unsaved[project]

    def saved(self, project: str, days: Sequence[DailyRecord]) -> None:
        """Note that the records have been written."""
        del self._unsaved[project]
        if days:
            self._latest[project] = days[-1]

    def write(self, project: str, days: Sequence[DailyRecord]) -> None:
        """Write what differs from the record saved last."""
        before = self.latest(project)
        for record in days:
            self._write_project(project, record.project)
            same_day = before if before and before.project.day == record.project.day else None
            self._write_instances(project, record.project.day, record.instances, same_day.instances if same_day else {})
            saved = same_day.later_outcomes if same_day else {}
            for (day, name), outcome in record.later_outcomes.items():
                if saved.get((day, name)) is not outcome:
                    self._write_outcome(project, name, day, outcome)
            before = record
        if before and before.project.day != self._expired_on:
            self._delete_expired(before.project.day)

    def read(self, project: str, instance: str, first: date, last: date) -> list[tuple[ProjectDay, InstanceDay]]:
        """The recorded days of an instance, from one to another, oldest first."""
        rows = self._connection.execute(
            "SELECT day, observed, observed_until, body"
            " FROM instance JOIN project_day USING (project) JOIN instance_day USING (day)"
            " WHERE project = ? AND name = ? AND instance_day.instance = id AND day BETWEEN ? AND ? ORDER BY day",
            (project, instance, first.toordinal(), last.toordinal()),
        )
        return [(_project_day(day, observed, until), day_rows.decode(body)) for day, observed, until, body in rows]

    def _write_project(self, project: str, day: ProjectDay) -> None:
        statement = "INSERT OR REPLACE INTO project_day (project, day, observed, observed_until) VALUES (?, ?, ?, ?)"
        row = (project, day.day.toordinal(), day.observed, day.observed_until.timestamp())
        self._connection.execute(statement, row)

    def _write_instances(
        self, project: str, day: date, instances: Mapping[str, InstanceDay], saved: Mapping[str, InstanceDay]
    ) -> None:
        changed = [(name, row) for name, row in instances.items() if saved.get(name) is not row]
        self._connection.executemany(
            "INSERT OR IGNORE INTO instance (project, name) VALUES (?, ?)", ((project, name) for name, _ in changed)
        )
        self._connection.executemany(
            "INSERT OR REPLACE INTO instance_day (day, instance, body)"
            " SELECT ?, id, ? FROM instance WHERE project = ? AND name = ?",
            ((day.toordinal(), day_rows.encode(row), project, name) for name, row in changed),
        )

    def _write_outcome(self, project: str, name: str, day: date, outcome: RunStatus) -> None:
        """Change the outcome of a day, if that is recorded."""
        key = (day.toordinal(), project, name)
        row = self._connection.execute(
            "SELECT body FROM instance_day"
            " WHERE day = ? AND instance = (SELECT id FROM instance WHERE project = ? AND name = ?)",
            key,
        ).fetchone()
        if row:
            body = day_rows.encode(replace(day_rows.decode(row[0]), outcome=outcome))
            self._connection.execute(
                "UPDATE instance_day SET body = ?"
                " WHERE day = ? AND instance = (SELECT id FROM instance WHERE project = ? AND name = ?)",
                (body, *key),
            )

    def _delete_expired(self, today: date) -> None:
        first = (today - self._history).toordinal()
        self._connection.execute("DELETE FROM instance_day WHERE day < ?", (first,))
        self._connection.execute("DELETE FROM project_day WHERE day < ?", (first,))
        self._expired_on = today

    def _read_latest(self, project: str) -> DailyRecord | None:
        statement = "SELECT day, observed, observed_until FROM project_day WHERE project = ? ORDER BY day DESC LIMIT 1"
        row = self._connection.execute(statement, (project,)).fetchone()
        if row is None:
            return None
        return DailyRecord(_project_day(*row), self._read_instances(project, row[0]))

    def _read_instances(self, project: str, day: int) -> dict[str, InstanceDay]:
        statement = "SELECT name, body FROM instance JOIN instance_day ON id = instance WHERE project = ? AND day = ?"
        return {name: day_rows.decode(body) for name, body in self._connection.execute(statement, (project, day))}


def _project_day(day: int, observed: float, observed_until: float) -> ProjectDay:
    return ProjectDay(date.fromordinal(day), observed, datetime.fromtimestamp(observed_until, UTC))
