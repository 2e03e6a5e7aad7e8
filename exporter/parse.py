"""One API item in, one fact out. Pure; names each field it could not read.

A field that cannot be read is left unknown and the rest of the item is kept, so that one odd value never
hides a failed backup. Only an item that cannot be placed at all (whose? when?) is refused.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Generic, TypeVar

from exporter.model import (
    ActivationPolicy,
    AvailabilityType,
    BackupRun,
    BackupSettings,
    BackupTier,
    BackupType,
    Edition,
    Instance,
    InstanceId,
    InstanceState,
    InstanceType,
    RunError,
    RunStatus,
    Word,
)

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # no time before it can be meant
MAX_CODE_LENGTH = 100
MAX_MESSAGE_LENGTH = 500
_INT64_DIGITS = 19
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)").fullmatch
_HH_MM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)").fullmatch

T = TypeVar("T")
W = TypeVar("W", bound=Word)


class UnreadableItemError(ValueError):
    """An item that cannot be placed: not an object, or without what names it. Says which field."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A fact, and the names of the fields of its item that could not be read."""

    fact: T
    unreadable: tuple[str, ...] = ()


class _Fields:
    """Typed reading of one JSON object. A missing or null field is None; one of another type too, and is noted."""

    def __init__(self, item: Mapping[object, object], latest: datetime, path: str, unreadable: list[str]) -> None:
        self._item, self._latest, self._path, self.unreadable = item, latest, path, unreadable

    def text(self, name: str) -> str | None:
        value = self._item.get(name)
        if value is None or (isinstance(value, str) and (value.isascii() or _is_utf8(value))):
            return value or None
        self._note(name)
        return None

    def word(self, name: str, vocabulary: type[W]) -> W:
        return vocabulary.read(self.text(name))

    def flag(self, name: str) -> bool | None:
        value = self._item.get(name)
        if value is None or isinstance(value, bool):
            return value
        self._note(name)
        return None

    def whole(self, name: str) -> int | None:
        """A whole number from 0 to the largest int64; the API writes an int64 as a string."""
        value = self._item.get(name)
        if value is None:
            return None
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _INT64_DIGITS:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63:
            return value
        self._note(name)
        return None

    def moment(self, name: str) -> datetime | None:
        """RFC 3339; digits below the microsecond are dropped."""
        value = self._item.get(name)
        if value is None:
            return None
        if isinstance(value, str) and _RFC3339(value):
            try:
                moment = datetime.fromisoformat(value.upper())
                if moment.tzinfo is not UTC:
                    moment = moment.astimezone(UTC)
            except (ValueError, OverflowError):
                self._note(name)
                return None
            if EARLIEST <= moment <= self._latest:
                return moment
        self._note(name)
        return None

    def time_of_day(self, name: str) -> timedelta | None:
        """`HH:MM`, as the span after midnight."""
        value = self.text(name)
        if value is None:
            return None
        if found := _HH_MM(value):
            return timedelta(hours=int(found[1]), minutes=int(found[2]))
        self._note(name)
        return None

    def child(self, name: str) -> "_Fields":
        value = self._item.get(name)
        if value is not None and not isinstance(value, dict):
            self._note(name)
        inner = value if isinstance(value, dict) else {}
        return _Fields(inner, self._latest, f"{self._path}{name}.", self.unreadable)

    def texts(self, name: str) -> dict[str, str]:
        """A mapping of text to text, less what is not text."""
        inner = self.child(name)
        values = {key: inner.text(key) for key in inner._item if isinstance(key, str) and _is_utf8(key)}
        return {key: value or "" for key, value in values.items()}

    def parsed(self, fact: T) -> "Parsed[T]":
        """What was read, with the names of what was not."""
        return Parsed(fact, tuple(dict.fromkeys(self.unreadable)) if self.unreadable else ())

    def _note(self, name: str) -> None:
        self.unreadable.append(self._path + name)


def backup_run(item: object, *, latest: datetime) -> Parsed[tuple[str, BackupRun]]:
    """Read an item of `backupRuns.list` (v1, v1beta4, or the older v1beta3) as (instance name, run).

    `latest` is the last moment that is believable.
    Raises UnreadableItemError where the instance, or every moment by which to place the run, is missing.
    """
    fields = _fields(item, latest)
    name = fields.text("instance")
    if name is None:
        raise UnreadableItemError("instance")
    window_start = fields.moment("windowStartTime")
    backup_type = fields.word("type", BackupType)
    due = fields.moment("dueTime")  # v1beta3, which knew automated runs only and gave them no id
    if due and not window_start:
        window_start = due
        if fields.text("type") is None:
            backup_type = BackupType.AUTOMATED
    enqueued, start, end = fields.moment("enqueuedTime"), fields.moment("startTime"), fields.moment("endTime")
    identifier = _identifier(fields)
    since = window_start or enqueued or start or _moment_of(identifier, latest)
    if since is None:
        raise UnreadableItemError("windowStartTime")
    status = fields.word("status", RunStatus)
    run = BackupRun(
        id=identifier or str(round(since.timestamp() * 1000)),
        type=backup_type,
        status=status,
        since=since,
        window_start=window_start,
        enqueued=enqueued,
        start=start,
        end=end,
        error=_error(fields.child("error")) if status is RunStatus.FAILED else None,
        location=fields.text("location"),
        size_bytes=fields.whole("maxChargeableBytes"),
    )
    for word, told in (("type", backup_type), ("status", status)):
        if told == "unknown" and fields.text(word) is None:
            fields.unreadable.append(word)
    return fields.parsed((name.rpartition(":")[2], run))


def instance(item: object, *, project: str, latest: datetime) -> Parsed[Instance]:
    """Read an item of `instances.list`. Raises UnreadableItemError where it has no name."""
    fields = _fields(item, latest)
    name = fields.text("name")
    if name is None:
        raise UnreadableItemError("name")
    settings = fields.child("settings")
    version = fields.text("databaseVersion")
    fact = Instance(
        id=InstanceId(project, name),
        type=fields.word("instanceType", InstanceType),
        state=fields.word("state", InstanceState),
        activation=settings.word("activationPolicy", ActivationPolicy),
        region=fields.text("region"),
        database_version=version,
        edition=settings.word("edition", Edition),
        availability=settings.word("availabilityType", AvailabilityType),
        created=fields.moment("createTime"),
        user_labels=settings.texts("userLabels"),
        backups=_backup_settings(settings.child("backupConfiguration"), version),
    )
    return fields.parsed(fact)


def _backup_settings(fields: _Fields, version: str | None) -> BackupSettings:
    days = fields.whole("transactionLogRetentionDays")
    pitr = "binaryLogEnabled" if (version or "").startswith("MYSQL") else "pointInTimeRecoveryEnabled"
    return BackupSettings(
        enabled=fields.flag("enabled"),
        window_start=fields.time_of_day("startTime"),
        location=fields.text("location"),
        tier=fields.word("backupTier", BackupTier),
        pitr_enabled=fields.flag(pitr),
        transaction_log_retention=timedelta(days=days) if days is not None and days < 10_000 else None,
        retained_backups=fields.child("backupRetentionSettings").whole("retainedBackups"),
    )


def _error(fields: _Fields) -> RunError:
    return RunError(
        code=(fields.text("code") or "")[:MAX_CODE_LENGTH],
        message=(fields.text("message") or "")[:MAX_MESSAGE_LENGTH],
    )


def _fields(item: object, latest: datetime) -> _Fields:
    if not isinstance(item, dict):
        raise UnreadableItemError("the item is not an object")
    return _Fields(item, latest, "", [])


def _identifier(fields: _Fields) -> str | None:
    number = fields.whole("id")
    return None if number is None else str(number)


def _moment_of(identifier: str | None, latest: datetime) -> datetime | None:
    """When a run's id places it: in every published answer it is the window start in epoch milliseconds."""
    if identifier is None or int(identifier) > latest.timestamp() * 1000:
        return None
    moment = datetime.fromtimestamp(int(identifier) / 1000, UTC)
    return moment if moment >= EARLIEST else None


def _is_utf8(text: str) -> bool:
    """JSON can carry half of a surrogate pair, which no exposition can."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
