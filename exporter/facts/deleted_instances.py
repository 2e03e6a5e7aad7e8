"""Deleted instances, as far as backups of them are left. Pure; immutable.

Field meanings: Google's discovery document of sqladmin v1, schema `Backup`. A name can be used again, so that a deleted
instance is identified by its name and the time of its deletion.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from exporter.facts.model import EPOCH, BackupType, InstanceId, LenientEnum


class BackupState(LenientEnum):
    """`Backup.state`. Only a successful one can be restored."""

    ENQUEUED = "ENQUEUED"
    RUNNING = "RUNNING"
    FAILED = "FAILED"
    SUCCESSFUL = "SUCCESSFUL"
    DELETING = "DELETING"
    DELETION_FAILED = "DELETION_FAILED"
    UNKNOWN = "unknown"


class LastExpiry(StrEnum):
    """How it is known when the last restorable backup of a deleted instance expires."""

    REPORTED = "reported"  # by the API
    ESTIMATED = "estimated"  # from the retention that the instance was configured with
    NEVER = "never"  # one of them is kept until somebody deletes it
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Backup:
    """One backup of a deleted instance.

    `deleted` is when the instance was deleted. `expires`: the API states when the backup expires, which is then
    `expiry`, or None where that cannot be read. `retained_backups` is the configured number of automated backups.
    """

    name: str  # such as projects/PROJECT/backups/ID; empty where the API gives none
    instance: str
    deleted: datetime
    type: BackupType = BackupType.UNKNOWN
    state: BackupState = BackupState.UNKNOWN
    start: datetime | None = None
    expires: bool = False
    expiry: datetime | None = None
    size_bytes: int | None = None
    location: str | None = None
    region: str | None = None  # of the instance
    retained_backups: int | None = None
    user_labels: Mapping[str, str] = field(default_factory=dict)  # of the instance


@dataclass(frozen=True, slots=True)
class DeletedInstance:
    """A deleted instance and the backups that are left of it.

    `deleted` has whole seconds. `retained` is the number of restorable backups, `retained_bytes` the sum of their
    sizes, None unless each is known. `newest` is when the newest of them started, `newest_name` its name. `last_expiry`
    is when the last of them expires; None where none is left, one never expires, or that is not known, which
    `last_expiry_status` tells. `places` are the region of the instance and the locations of its backups.
    """

    id: InstanceId
    deleted: datetime
    read_at: datetime
    retained: int = 0
    retained_bytes: int | None = None
    newest: datetime | None = None
    newest_name: str = ""
    newest_type: BackupType | None = None
    last_expiry: datetime | None = None
    last_expiry_status: LastExpiry | None = None
    places: tuple[str, ...] = ()
    user_labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, datetime]:
        """Name and time of the deletion, which identify it in its project."""
        return self.id.name, self.deleted

    @property
    def deleted_label(self) -> str:
        """When it was deleted, in RFC 3339, as in labels of metrics."""
        return f"{self.deleted:%Y-%m-%dT%H:%M:%SZ}"


def deleted_instances(project: str, backups: Iterable[Backup], read_at: datetime) -> tuple[DeletedInstance, ...]:
    """The deleted instances of a project by name and time of deletion, from their backups in any order.

    A backup that is listed twice, because pages shift, counts once.
    """
    groups: dict[tuple[str, datetime], dict[str, Backup]] = {}
    for number, backup in enumerate(backups):
        group = groups.setdefault((backup.instance, backup.deleted.replace(microsecond=0)), {})
        group[backup.name or str(number)] = backup
    return tuple(
        _deleted_instance(InstanceId(project, name), deleted, list(group.values()), read_at)
        for (name, deleted), group in sorted(groups.items(), key=lambda item: item[0])
    )


def _deleted_instance(
    instance: InstanceId, deleted: datetime, backups: list[Backup], read_at: datetime
) -> DeletedInstance:
    backups = sorted(backups, key=lambda backup: (backup.start or EPOCH, backup.name))
    restorable = [backup for backup in backups if backup.state is BackupState.SUCCESSFUL]
    sizes = [backup.size_bytes for backup in restorable if backup.size_bytes is not None]
    newest = restorable[-1] if restorable and restorable[-1].start else None
    last_expiry, status = _last_expiry(restorable, deleted, _latest_retention(backups))
    places = {place for backup in backups for place in (backup.region, backup.location) if place}
    return DeletedInstance(
        id=instance,
        deleted=deleted,
        read_at=read_at,
        retained=len(restorable),
        retained_bytes=sum(sizes) if sizes and len(sizes) == len(restorable) else None,
        newest=newest.start if newest else None,
        newest_name=newest.name if newest else "",
        newest_type=newest.type if newest else None,
        last_expiry=last_expiry,
        last_expiry_status=status,
        places=tuple(sorted(places)),
        user_labels=next((backup.user_labels for backup in reversed(backups) if backup.user_labels), {}),
    )


def _latest_retention(backups: Iterable[Backup]) -> int | None:
    """The configured number of automated backups by the newest backup that tells: the nearest to the deletion."""
    known = [backup.retained_backups for backup in backups if backup.retained_backups]
    return known[-1] if known else None


def _last_expiry(
    restorable: Iterable[Backup], deleted: datetime, retention: int | None
) -> tuple[datetime | None, LastExpiry | None]:
    """When the last of the restorable backups expires, and how that is known."""
    expiries = [_expiry(backup, deleted, retention) for backup in restorable]
    statuses = {status for _, status in expiries}
    if not expiries:
        return None, None
    for undated in (LastExpiry.NEVER, LastExpiry.UNKNOWN):
        if undated in statuses:
            return None, undated
    return max((at, status) for at, status in expiries if at)


def _expiry(backup: Backup, deleted: datetime, retention: int | None) -> tuple[datetime | None, LastExpiry]:
    """When a backup expires, and how that is known.

    After the deletion of an instance its automated backups expire one a day, the oldest first, so that the last one is
    gone after as many days as backups were retained.
    """
    if backup.expires:
        return backup.expiry, LastExpiry.REPORTED if backup.expiry else LastExpiry.UNKNOWN
    if backup.type is BackupType.ON_DEMAND:
        return None, LastExpiry.NEVER
    if backup.type is BackupType.AUTOMATED and retention:
        return deleted + timedelta(days=retention), LastExpiry.ESTIMATED
    return None, LastExpiry.UNKNOWN
