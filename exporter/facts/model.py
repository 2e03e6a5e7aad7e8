"""Facts as the Cloud SQL Admin API states them.

Timestamps are aware UTC datetimes, durations are timedeltas, sizes are bytes. `None` means "the API did not say".
Field meanings: Google's discovery document of sqladmin v1, schemas `DatabaseInstance` and `BackupRun`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Self, cast


class LenientEnum(StrEnum):
    """A closed set of words that reads any other word as its member UNKNOWN."""

    __hash__ = str.__hash__  # several times faster than that of Enum, which is written in Python

    @classmethod
    def _missing_(cls, _value: object) -> "LenientEnum":
        return cls["UNKNOWN"]

    @classmethod
    def read(cls, text: str | None) -> Self:
        """Same as calling the class, several times faster: a full listing reads hundreds of thousands of words."""
        found = cls._value2member_map_.get(text)
        return cls["UNKNOWN"] if found is None else cast(Self, found)


class RunStatus(LenientEnum):
    """`BackupRun.status`."""

    ENQUEUED = "ENQUEUED"
    RUNNING = "RUNNING"
    SUCCESSFUL = "SUCCESSFUL"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"  # the API's word for an idle instance: not a problem
    OVERDUE = "OVERDUE"  # nothing ran in a whole window: a problem
    DELETION_PENDING = "DELETION_PENDING"
    DELETION_FAILED = "DELETION_FAILED"
    DELETED = "DELETED"
    VANISHED = "vanished"  # no word of the API: a run that is no longer listed, see history.with_vanished
    UNKNOWN = "unknown"  # a word newer than this release, or none

    def __init__(self, word: str) -> None:
        # Attributes, not properties: a full listing reads them for each run.
        self.in_progress = word in ("ENQUEUED", "RUNNING")
        self.completed = word in ("SUCCESSFUL", "FAILED", "SKIPPED", "OVERDUE")
        self.deleted = word in ("DELETION_PENDING", "DELETION_FAILED", "DELETED", "vanished")  # cannot be restored


class BackupType(LenientEnum):
    """`BackupRun.type`."""

    AUTOMATED = "AUTOMATED"
    ON_DEMAND = "ON_DEMAND"
    FINAL = "FINAL"  # made when the instance is deleted
    UNKNOWN = "unknown"


class InstanceType(LenientEnum):
    """`DatabaseInstance.instanceType`."""

    CLOUD_SQL_INSTANCE = "CLOUD_SQL_INSTANCE"
    ON_PREMISES_INSTANCE = "ON_PREMISES_INSTANCE"
    READ_REPLICA_INSTANCE = "READ_REPLICA_INSTANCE"
    READ_POOL_INSTANCE = "READ_POOL_INSTANCE"
    GREEN_INSTANCE = "GREEN_INSTANCE"
    UNKNOWN = "unknown"


class InstanceState(LenientEnum):
    """`DatabaseInstance.state`; RUNNABLE also covers an instance stopped by its owner."""

    RUNNABLE = "RUNNABLE"
    SUSPENDED = "SUSPENDED"
    PENDING_DELETE = "PENDING_DELETE"
    PENDING_CREATE = "PENDING_CREATE"
    MAINTENANCE = "MAINTENANCE"
    FAILED = "FAILED"
    ONLINE_MAINTENANCE = "ONLINE_MAINTENANCE"
    REPAIRING = "REPAIRING"
    UNKNOWN = "unknown"


class SuspensionReason(LenientEnum):
    """A word of `DatabaseInstance.suspensionReason`."""

    BILLING_ISSUE = "BILLING_ISSUE"
    LEGAL_ISSUE = "LEGAL_ISSUE"
    OPERATIONAL_ISSUE = "OPERATIONAL_ISSUE"
    KMS_KEY_ISSUE = "KMS_KEY_ISSUE"  # the key of the data, and of its backups, is revoked or denied
    PROJECT_ABUSE = "PROJECT_ABUSE"
    UNKNOWN = "unknown"


class ActivationPolicy(LenientEnum):
    """`Settings.activationPolicy`; NEVER means stopped by its owner."""

    ALWAYS = "ALWAYS"
    NEVER = "NEVER"
    UNKNOWN = "unknown"


class Edition(LenientEnum):
    """`Settings.edition`."""

    ENTERPRISE = "ENTERPRISE"
    ENTERPRISE_PLUS = "ENTERPRISE_PLUS"
    DEVELOPER = "DEVELOPER"
    UNKNOWN = "unknown"


class AvailabilityType(LenientEnum):
    """`Settings.availabilityType`."""

    ZONAL = "ZONAL"
    REGIONAL = "REGIONAL"
    UNKNOWN = "unknown"


class BackupTier(LenientEnum):
    """`BackupConfiguration.backupTier`: who keeps the backups."""

    STANDARD = "STANDARD"
    ENHANCED = "ENHANCED"  # Google Cloud Backup and DR
    ADVANCED = "ADVANCED"  # the deprecated word for ENHANCED
    UNKNOWN = "unknown"


Clock = Callable[[], datetime]  # aware UTC
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def microseconds(timestamp: datetime) -> int:
    """Whole microseconds since 1970."""
    since = timestamp - EPOCH
    return (since.days * 86400 + since.seconds) * 1_000_000 + since.microseconds


def span(earlier: datetime | None, later: datetime | None) -> timedelta | None:
    """The time from one timestamp to a later one; None where either is unknown or they contradict each other."""
    return later - earlier if earlier and later and later >= earlier else None


@dataclass(frozen=True, slots=True, order=True)
class InstanceId:
    """Project and name, which identify an instance."""

    project: str
    name: str

    def __str__(self) -> str:
        return f"{self.project}:{self.name}"


@dataclass(frozen=True, slots=True)
class BackupSettings:
    """`Settings.backupConfiguration` of an instance."""

    enabled: bool | None = None
    window_start: timedelta | None = None  # after 00:00 UTC; a window is four hours long
    location: str | None = None
    tier: BackupTier = BackupTier.UNKNOWN
    pitr_enabled: bool | None = None
    transaction_log_retention: timedelta | None = None
    retained_backups: int | None = None


@dataclass(frozen=True, slots=True)
class DeletionSettings:
    """What guards the data of an instance against its deletion."""

    protected: bool | None = None  # the instance cannot be deleted
    backups_retained: bool | None = None  # its backups outlive it
    final_backup: bool | None = None  # a last backup is made when it is deleted


@dataclass(frozen=True, slots=True)
class Instance:
    """One Cloud SQL instance."""

    id: InstanceId
    type: InstanceType = InstanceType.UNKNOWN
    state: InstanceState = InstanceState.UNKNOWN
    activation: ActivationPolicy = ActivationPolicy.UNKNOWN
    region: str | None = None
    database_version: str | None = None
    edition: Edition = Edition.UNKNOWN
    availability: AvailabilityType = AvailabilityType.UNKNOWN
    created: datetime | None = None
    user_labels: Mapping[str, str] = field(default_factory=dict)
    backups: BackupSettings = BackupSettings()
    deletion: DeletionSettings = DeletionSettings()
    suspension_reasons: tuple[SuspensionReason, ...] = ()
    disk_full: bool = False  # shut down because its disk is full

    @property
    def is_replica(self) -> bool:
        """A read replica or read pool, whose backups are those of its primary."""
        return self.type in (InstanceType.READ_REPLICA_INSTANCE, InstanceType.READ_POOL_INSTANCE)

    @property
    def can_have_backups(self) -> bool:
        """Backed up by Cloud SQL itself: neither a replica nor a server outside."""
        return not self.is_replica and self.type is not InstanceType.ON_PREMISES_INSTANCE

    @property
    def is_primary(self) -> bool:
        """Neither a replica nor a server outside, nor about to replace a primary."""
        return self.can_have_backups and self.type is not InstanceType.GREEN_INSTANCE

    @property
    def is_running_primary(self) -> bool:
        """A primary that its owner has not stopped, and that is neither suspended nor being maintained."""
        return (
            self.is_primary and self.state is InstanceState.RUNNABLE and self.activation is not ActivationPolicy.NEVER
        )

    @property
    def has_backup_plan(self) -> bool:
        """In the enhanced tier: backed up by Backup and DR, if it is associated with a backup plan there."""
        return self.can_have_backups and self.backups.tier in (BackupTier.ENHANCED, BackupTier.ADVANCED)


NO_CODE = "unspecified"  # the label of an error without a code


@dataclass(frozen=True, slots=True)
class RunError:
    """Error of a failed run.

    `code` is free text from outside, empty where the API gave none; `label` is its label value, of which there is
    a limited number.
    """

    code: str
    message: str
    label: str = NO_CODE


@dataclass(frozen=True, slots=True)
class BackupRun:
    """One backup run of one instance.

    `scheduled` is the earliest known of its timestamps, usually the window start; it is never missing and orders runs.
    """

    id: str
    type: BackupType
    status: RunStatus
    scheduled: datetime
    window_start: datetime | None = None
    enqueued: datetime | None = None
    start: datetime | None = None
    end: datetime | None = None
    error: RunError | None = None
    location: str | None = None
    size_bytes: int | None = None

    @property
    def effective_start(self) -> datetime:
        """When it started, or the latest known timestamp before that: all data up to then is in the backup."""
        return self.start or self.enqueued or self.scheduled

    @property
    def duration(self) -> timedelta | None:
        """End minus start."""
        return span(self.start, self.end)

    @property
    def order(self) -> tuple[datetime, datetime, str]:
        """Sort key, oldest first; attempts in the same window sort by their start."""
        return (self.scheduled, self.effective_start, self.id)


class PollResult(StrEnum):
    """Result of a poll of a project; a closed set, used as label values."""

    SUCCESS = "success"
    UNAUTHENTICATED = "unauthenticated"
    FORBIDDEN = "forbidden"
    API_DISABLED = "api_disabled"
    NOT_FOUND = "not_found"
    QUOTA = "quota"
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    SERVER_ERROR = "server_error"
    BAD_RESPONSE = "bad_response"
