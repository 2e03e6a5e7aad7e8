"""Fast decoding of one regular API item, in JSON, into one fact. Pure.

An item is regular if every field has the type and form that the API documents, with a plausible value. Of such an item
`parse` returns the same, several times slower. Any other item is left to `parse`.
"""

from datetime import UTC, datetime
from typing import Annotated

import msgspec

from exporter.facts.model import (
    ActivationPolicy,
    AvailabilityType,
    BackupSettings,
    BackupTier,
    BackupType,
    DeletionSettings,
    Edition,
    Instance,
    InstanceId,
    InstanceState,
    InstanceType,
    RunStatus,
    SuspensionReason,
)
from exporter.facts.packed_runs import RunRow, seconds
from exporter.scan import parse

_Timestamp = Annotated[datetime, msgspec.Meta(tz=True)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=parse.MAX_INT64)]


class _ErrorItem(msgspec.Struct, gc=False):
    code: str | None = None
    message: str | None = None


class _RunItem(msgspec.Struct, rename="camel", gc=False):
    id: str
    instance: str
    type: BackupType
    status: RunStatus
    window_start_time: _Timestamp
    enqueued_time: _Timestamp | None = None
    start_time: _Timestamp | None = None
    end_time: _Timestamp | None = None
    error: _ErrorItem | None = None
    location: str | None = None
    max_chargeable_bytes: str | None = None
    due_time: None = None  # of v1beta3


class _RetentionItem(msgspec.Struct, frozen=True, rename="camel"):
    retained_backups: _Count | None = None


class _BackupConfigurationItem(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool | None = None
    start_time: str | None = None
    location: str | None = None
    backup_tier: BackupTier = BackupTier.UNKNOWN
    binary_log_enabled: bool | None = None
    point_in_time_recovery_enabled: bool | None = None
    transaction_log_retention_days: _Count | None = None
    backup_retention_settings: _RetentionItem = _RetentionItem()


class _FinalBackupItem(msgspec.Struct, frozen=True):
    enabled: bool | None = None


class _SettingsItem(msgspec.Struct, frozen=True, rename="camel"):
    activation_policy: ActivationPolicy = ActivationPolicy.UNKNOWN
    edition: Edition = Edition.UNKNOWN
    availability_type: AvailabilityType = AvailabilityType.UNKNOWN
    user_labels: dict[str, str] = {}
    backup_configuration: _BackupConfigurationItem = _BackupConfigurationItem()
    deletion_protection_enabled: bool | None = None
    retain_backups_on_delete: bool | None = None
    final_backup_config: _FinalBackupItem = _FinalBackupItem()


class _OutOfDiskItem(msgspec.Struct, frozen=True, rename="camel"):
    sql_out_of_disk_state: str | None = None


class _InstanceItem(msgspec.Struct, rename="camel"):
    name: str
    instance_type: InstanceType = InstanceType.UNKNOWN
    state: InstanceState = InstanceState.UNKNOWN
    region: str | None = None
    database_version: str | None = None
    create_time: _Timestamp | None = None
    settings: _SettingsItem | None = None
    suspension_reason: tuple[SuspensionReason, ...] = ()
    out_of_disk_report: _OutOfDiskItem = _OutOfDiskItem()


_NO_SETTINGS = _SettingsItem()
_RUN = msgspec.json.Decoder(_RunItem)
_INSTANCE = msgspec.json.Decoder(_InstanceItem)
_UNKNOWN_TYPE, _UNKNOWN_STATUS, _FAILED = BackupType.UNKNOWN, RunStatus.UNKNOWN, RunStatus.FAILED  # faster to access


def backup_run(text: bytes, *, latest: datetime) -> tuple[str, RunRow] | None:
    """Instance name and row of a regular item of `backupRuns.list`; None for any other item."""
    try:
        item = _RUN.decode(text)
    except (ValueError, RecursionError):
        return None
    number = parse.int64(item.id)
    size = None if item.max_chargeable_bytes is None else parse.int64(item.max_chargeable_bytes)
    if (
        not item.instance
        or number is None
        or item.type is _UNKNOWN_TYPE
        or item.status is _UNKNOWN_STATUS
        or (size is None and item.max_chargeable_bytes is not None)
    ):
        return None
    for timestamp in (item.window_start_time, item.enqueued_time, item.start_time, item.end_time):
        if timestamp is not None and not parse.EARLIEST <= timestamp <= latest:
            return None
    error = None
    if item.status is _FAILED:
        error = parse.run_error(item.error.code, item.error.message) if item.error else parse.run_error(None, None)
    scheduled = item.window_start_time.timestamp()
    row = RunRow(
        number,
        item.type,
        item.status,
        scheduled,
        scheduled,
        seconds(item.enqueued_time),
        seconds(item.start_time),
        seconds(item.end_time),
        error,
        item.location or None,
        size,
    )
    return parse.instance_name(item.instance), row


def instance(text: bytes, *, project: str, latest: datetime) -> Instance | None:
    """The instance of a regular item of `instances.list`; None for any other item."""
    try:
        item = _INSTANCE.decode(text)
    except (ValueError, RecursionError):
        return None
    settings, created = item.settings or _NO_SETTINGS, item.create_time
    configuration = settings.backup_configuration
    omitted = None if item.settings is None else False  # the value of a flag that the API omits
    window_start = parse.time_of_day(configuration.start_time) if configuration.start_time else None
    if (
        not item.name
        or (created is not None and not _is_regular(created, latest))
        or (window_start is None and configuration.start_time)
    ):
        return None
    is_mysql = parse.is_mysql(item.database_version)
    return Instance(
        id=InstanceId(project, item.name),
        type=item.instance_type,
        state=item.state,
        activation=settings.activation_policy,
        region=item.region or None,
        database_version=item.database_version or None,
        edition=settings.edition,
        availability=settings.availability_type,
        created=created,
        user_labels=settings.user_labels,
        backups=BackupSettings(
            enabled=configuration.enabled,
            window_start=window_start,
            location=configuration.location or None,
            tier=configuration.backup_tier,
            pitr_enabled=_flag(
                configuration.binary_log_enabled if is_mysql else configuration.point_in_time_recovery_enabled,
                omitted,
            ),
            transaction_log_retention=parse.log_retention(configuration.transaction_log_retention_days),
            retained_backups=configuration.backup_retention_settings.retained_backups,
        ),
        deletion=DeletionSettings(
            protected=_flag(settings.deletion_protection_enabled, omitted),
            backups_retained=_flag(settings.retain_backups_on_delete, omitted),
            final_backup=_flag(settings.final_backup_config.enabled, omitted),
        ),
        suspension_reasons=tuple(dict.fromkeys(item.suspension_reason)),
        disk_full=item.out_of_disk_report.sql_out_of_disk_state == parse.DISK_FULL,
    )


def _flag(value: bool | None, omitted: bool | None) -> bool | None:
    return omitted if value is None else value


def _is_regular(timestamp: datetime, latest: datetime) -> bool:
    return timestamp.tzinfo is UTC and parse.EARLIEST <= timestamp <= latest
