"""Recovery times of an instance with point-in-time recovery, from its transaction logs and backups. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast
from zlib import crc32

from exporter.simulator.timeline import Resource

KIND = "sql#getLatestRecoveryTime"
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Logs:
    """The transaction logs of an instance.

    `lag`: time until a log is in Cloud Storage. `stopped_ago`: from when no more logs were written to the start of the
    world. `begun_ago`: from the first log to the start of the world; None: as long ago as the retention allows.
    `omits`: fields that the response does not have.
    """

    lag: timedelta = timedelta(minutes=3)
    stopped_ago: timedelta | None = None
    begun_ago: timedelta | None = None
    omits: frozenset[str] = frozenset()


SHIPPED = Logs()


def recovery_times(
    instance: Resource, runs: Iterable[Resource], logs: Logs, start: datetime, now: datetime
) -> Resource | None:
    """Return the response of `getLatestRecoveryTime`; None where there is nothing to recover to.

    A time can be restored if there are logs up to it and a backup before it. Logs are purged once a day, so that
    between N and N + 1 days of them remain. `runs` are those of the instance, `start` is that of the world.
    """
    ends = [datetime.fromisoformat(str(run["endTime"])) for run in runs if run["status"] == "SUCCESSFUL"]
    if not ends or not _logs_are_in_cloud_storage(instance):
        return None
    latest = now - logs.lag
    if logs.stopped_ago is not None:
        latest = min(latest, start - logs.stopped_ago)
    purged_until = now.replace(hour=0, minute=0, second=0, microsecond=0) - _retention(instance)
    begun = [] if logs.begun_ago is None else [start - logs.begun_ago]
    earliest = max(min(ends), purged_until, *begun)
    if earliest > latest:
        return None
    name = str(instance["name"])
    times = {"earliestRecoveryTime": _timestamp(earliest, name), "latestRecoveryTime": _timestamp(latest, name)}
    return {"kind": KIND, **{field: value for field, value in times.items() if field not in logs.omits}}


def _logs_are_in_cloud_storage(instance: Resource) -> bool:
    """Whether point-in-time recovery is on, for a primary whose logs are not on its disk."""
    backups = _backup_configuration(instance)
    mysql = str(instance["databaseVersion"]).startswith("MYSQL")
    enabled = backups.get("binaryLogEnabled" if mysql else "pointInTimeRecoveryEnabled")
    on_disk = backups.get("transactionalLogStorageState") == "DISK"
    return bool(enabled) and not on_disk and instance["instanceType"] == "CLOUD_SQL_INSTANCE"


def _retention(instance: Resource) -> timedelta:
    days = _backup_configuration(instance).get("transactionLogRetentionDays")
    return (days if isinstance(days, int) else 7) * DAY


def _backup_configuration(instance: Resource) -> Resource:
    return cast(Resource, cast(Resource, instance["settings"])["backupConfiguration"])


def _timestamp(time: datetime, seed: str) -> str:
    """Format a UTC time with nine fractional digits, as published."""
    nanoseconds = time.microsecond * 1000 + crc32(seed.encode()) % 1000
    return f"{time:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
