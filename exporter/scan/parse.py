"""Parsing of one API item into one fact. Pure; reports the name of each unreadable field.

An unreadable field is unknown and the rest of the item is used, so that one odd value never hides a failed backup.
An item is only rejected if its instance or its time is missing.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Generic, TypeVar

import msgspec

from exporter.facts.model import (
    ActivationPolicy,
    AvailabilityType,
    BackupRun,
    BackupSettings,
    BackupTier,
    BackupType,
    DeletionSettings,
    Edition,
    Instance,
    InstanceId,
    InstanceState,
    InstanceType,
    LenientEnum,
    RunError,
    RunStatus,
    SuspensionReason,
)

EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)  # earlier timestamps are not plausible
DISK_FULL = "SOFT_SHUTDOWN"  # the word of `outOfDiskReport.sqlOutOfDiskState`
MAX_CODE_LENGTH = 100
MAX_MESSAGE_LENGTH = 500
MAX_INT64 = 2**63 - 1
_INT64_DIGITS = 19
Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
_JSON = json.JSONDecoder(parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)
_HH_MM = re.compile(r"([01]\d|2[0-3]):([0-5]\d)").fullmatch

T = TypeVar("T")
E = TypeVar("E", bound=LenientEnum)


class UnreadableItemError(ValueError):
    """An item that is not an object or lacks a field that identifies it; the message is the name of the field."""


@dataclass(frozen=True, slots=True)
class Parsed(Generic[T]):
    """A fact, and the names of the unreadable fields of its item."""

    fact: T
    unreadable: tuple[str, ...] = ()


class Fields:
    """Typed access to one JSON object. A missing or null field is None; so is one of another type, which is noted."""

    def __init__(
        self,
        item: Mapping[object, object],
        latest: datetime,
        path: str,
        unreadable: list[str],
        *,
        returned: bool = False,
    ) -> None:
        """`returned`: the API returned the object, or omitted it from one that it returned, because it is empty."""
        self._item, self._latest, self._path, self.unreadable = item, latest, path, unreadable
        self._returned = returned

    @classmethod
    def of(cls, item: object, latest: datetime) -> "Fields":
        """The fields of an item; `latest` is the latest plausible timestamp. Raises UnreadableItemError."""
        if not isinstance(item, dict):
            raise UnreadableItemError("the item is not an object")
        return cls(item, latest, "", [])

    def is_blank(self, name: str) -> bool:
        """Whether a field is missing, null or an empty text."""
        return self._item.get(name) in (None, "")

    def text(self, name: str) -> str | None:
        """A text that is not empty."""
        value = self._item.get(name)
        if value is None or (isinstance(value, str) and (value.isascii() or _is_utf8(value))):
            return value or None
        self._note(name)
        return None

    def enum(self, name: str, enum: type[E]) -> E:
        """A word."""
        return enum.read(self.text(name))

    def enums(self, name: str, enum: type[E]) -> tuple[E, ...]:
        """A list of words, each once."""
        value = self._item.get(name)
        words = value if isinstance(value, list) else []
        if (value is not None and not isinstance(value, list)) or not all(isinstance(word, str) for word in words):
            self._note(name)
        return tuple(dict.fromkeys(enum.read(word) for word in words if isinstance(word, str)))

    def boolean(self, name: str) -> bool | None:
        """A boolean."""
        value = self._item.get(name)
        if value is None or isinstance(value, bool):
            return value
        self._note(name)
        return None

    def flag(self, name: str) -> bool | None:
        """A boolean that the API omits if it is off."""
        value = self.boolean(name)
        return False if value is None and self._returned and self._item.get(name) is None else value

    def integer(self, name: str) -> int | None:
        """An integer from 0 to the largest int64; the API writes int64 as a string."""
        value = self._item.get(name)
        if value is None:
            return None
        if isinstance(value, str):
            value = int64(value)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INT64:
            return value
        self._note(name)
        return None

    def timestamp(self, name: str, latest: datetime | None = None) -> datetime | None:
        """RFC 3339, rounded to the microsecond; `latest` is the latest plausible one, if not that of the item."""
        value = self._item.get(name)
        if value is None:
            return None
        try:
            timestamp = msgspec.convert(value, Timestamp).astimezone(UTC)
        except (ValueError, OverflowError):
            timestamp = None
        if timestamp is not None and EARLIEST <= timestamp <= (latest or self._latest):
            return timestamp
        self._note(name)
        return None

    def time_of_day(self, name: str) -> timedelta | None:
        """A text such as 03:00, as the time after midnight."""
        value = self.text(name)
        if value is None:
            return None
        time = time_of_day(value)
        if time is None:
            self._note(name)
        return time

    def child(self, name: str) -> "Fields":
        """The fields of an inner object; none if it is missing."""
        value = self._item.get(name)
        if value is not None and not isinstance(value, dict):
            self._note(name)
        inner = value if isinstance(value, dict) else {}
        returned = isinstance(value, dict) or (value is None and self._returned)
        return Fields(inner, self._latest, f"{self._path}{name}.", self.unreadable, returned=returned)

    def children(self, name: str) -> list["Fields"]:
        """The objects of a list; other items are noted."""
        value = self._item.get(name)
        items = value if isinstance(value, list) else []
        if (value is not None and not isinstance(value, list)) or not all(isinstance(item, dict) for item in items):
            self._note(name)
        path = f"{self._path}{name}."
        return [Fields(item, self._latest, path, self.unreadable) for item in items if isinstance(item, dict)]

    def string_map(self, name: str) -> dict[str, str]:
        """A mapping of strings to strings, without other values."""
        inner = self.child(name)
        values = {key: inner.text(key) for key in inner._item if isinstance(key, str) and _is_utf8(key)}
        return {key: value or "" for key, value in values.items()}

    def parsed(self, fact: T) -> "Parsed[T]":
        """The fact with the names of the unreadable fields."""
        return Parsed(fact, tuple(dict.fromkeys(self.unreadable)) if self.unreadable else ())

    def _note(self, name: str) -> None:
        self.unreadable.append(self._path + name)


def json_value(text: bytes) -> object:
    """The value of a JSON text, with very long numbers as text. Raises UnreadableItemError.

    Python refuses to read integers of thousands of digits; as text, they are rejected by the parser of their field.
    """
    try:
        return _JSON.decode(text.decode(errors="surrogatepass"))
    except (ValueError, RecursionError) as error:
        raise UnreadableItemError(f"not JSON: {error}") from error


def backup_run(item: object, *, latest: datetime) -> Parsed[tuple[str, BackupRun]]:
    """Read an item of `backupRuns.list` (v1, v1beta4, or the older v1beta3) as (instance name, run).

    `latest` is the latest plausible timestamp.
    Raises UnreadableItemError if the instance or every timestamp is missing.
    """
    fields = Fields.of(item, latest)
    name = fields.text("instance")
    if name is None:
        raise UnreadableItemError("instance")
    window_start = fields.timestamp("windowStartTime")
    backup_type = fields.enum("type", BackupType)
    due = fields.timestamp("dueTime")  # v1beta3, which has automated runs only, without an id
    if due and not window_start:
        window_start = due
        if fields.text("type") is None:
            backup_type = BackupType.AUTOMATED
    enqueued, start, end = fields.timestamp("enqueuedTime"), fields.timestamp("startTime"), fields.timestamp("endTime")
    identifier = _identifier(fields)
    scheduled = window_start or enqueued or start or _window_start(identifier, latest)
    if scheduled is None:
        raise UnreadableItemError("windowStartTime")
    status = fields.enum("status", RunStatus)
    run = BackupRun(
        id=identifier or str(round(scheduled.timestamp() * 1000)),
        type=backup_type,
        status=status,
        scheduled=scheduled,
        window_start=window_start,
        enqueued=enqueued,
        start=start,
        end=end,
        error=_error(fields.child("error")) if status is RunStatus.FAILED else None,
        location=fields.text("location"),
        size_bytes=fields.integer("maxChargeableBytes"),
    )
    for field, value in (("type", backup_type), ("status", status)):
        if value is type(value).UNKNOWN and fields.text(field) is None:
            fields.unreadable.append(field)
    return fields.parsed((instance_name(name), run))


def instance(item: object, *, project: str, latest: datetime) -> Parsed[Instance]:
    """Read an item of `instances.list`. Raises UnreadableItemError if it has no name."""
    fields = Fields.of(item, latest)
    name = fields.text("name")
    if name is None:
        raise UnreadableItemError("name")
    settings = fields.child("settings")
    version = fields.text("databaseVersion")
    fact = Instance(
        id=InstanceId(project, name),
        type=fields.enum("instanceType", InstanceType),
        state=fields.enum("state", InstanceState),
        activation=settings.enum("activationPolicy", ActivationPolicy),
        region=fields.text("region"),
        database_version=version,
        edition=settings.enum("edition", Edition),
        availability=settings.enum("availabilityType", AvailabilityType),
        created=fields.timestamp("createTime"),
        user_labels=settings.string_map("userLabels"),
        backups=_backup_settings(settings.child("backupConfiguration"), version),
        deletion=DeletionSettings(
            protected=settings.flag("deletionProtectionEnabled"),
            backups_retained=settings.flag("retainBackupsOnDelete"),
            final_backup=settings.child("finalBackupConfig").flag("enabled"),
        ),
        suspension_reasons=fields.enums("suspensionReason", SuspensionReason),
        disk_full=fields.child("outOfDiskReport").text("sqlOutOfDiskState") == DISK_FULL,
    )
    return fields.parsed(fact)


def _backup_settings(fields: Fields, version: str | None) -> BackupSettings:
    pitr = "binaryLogEnabled" if is_mysql(version) else "pointInTimeRecoveryEnabled"
    return BackupSettings(
        enabled=fields.boolean("enabled"),
        window_start=fields.time_of_day("startTime"),
        location=fields.text("location"),
        tier=fields.enum("backupTier", BackupTier),
        pitr_enabled=fields.flag(pitr),
        transaction_log_retention=log_retention(fields.integer("transactionLogRetentionDays")),
        retained_backups=fields.child("backupRetentionSettings").integer("retainedBackups"),
    )


def int64(text: str) -> int | None:
    """The API's form of an int64, from 0; None for any other text."""
    if text.isascii() and text.isdigit() and len(text) <= _INT64_DIGITS:
        number = int(text)
        if number <= MAX_INT64:
            return number
    return None


def time_of_day(text: str) -> timedelta | None:
    """`HH:MM`, as the time after midnight; None for any other text."""
    match = _HH_MM(text)
    return timedelta(hours=int(match[1]), minutes=int(match[2])) if match else None


def instance_name(text: str) -> str:
    """The name of an instance without its project, which precedes it in v1beta3."""
    return text.rpartition(":")[2]


def is_mysql(database_version: str | None) -> bool:
    """Whether point-in-time recovery depends on the binary log."""
    return (database_version or "").startswith("MYSQL")


def log_retention(days: int | None) -> timedelta | None:
    """The retention of transaction logs; None if it is unknown or not plausible."""
    return timedelta(days=days) if days is not None and days < 10_000 else None


def run_error(code: str | None, message: str | None) -> RunError:
    """An error with texts of limited length."""
    return RunError((code or "")[:MAX_CODE_LENGTH], (message or "")[:MAX_MESSAGE_LENGTH])


def _error(fields: Fields) -> RunError:
    return run_error(fields.text("code"), fields.text("message"))


def _identifier(fields: Fields) -> str | None:
    number = fields.integer("id")
    return None if number is None else str(number)


def _window_start(identifier: str | None, latest: datetime) -> datetime | None:
    """The window start that a run id encodes: in every published response the id is that time in milliseconds."""
    if identifier is None or int(identifier) > latest.timestamp() * 1000:
        return None
    start = datetime.fromtimestamp(int(identifier) / 1000, UTC)
    return start if start >= EARLIEST else None


def _is_utf8(text: str) -> bool:
    """Whether a text can be encoded: JSON can contain half of a surrogate pair, an exposition cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
