"""Backups as the API lists them: those of existing instances, and those that outlive a deleted one. Pure.

Written from the schema `Backup` of Google's discovery document of sqladmin v1. Backups of an existing instance are its
runs. After a deletion, automated backups expire one a day, the oldest first; on-demand backups remain.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zlib import crc32

from exporter.simulator.scenarios import SCENARIOS, Scenario
from exporter.simulator.timeline import Resource, timestamp

DAY = timedelta(days=1)
PURGED_AFTER = timedelta(hours=2)  # from the expiry of a backup until it is no longer listed
_STATES = {"DELETION_PENDING": "DELETING"}  # by status of a run, where the word is another one
_LISTED = ("ENQUEUED", "RUNNING", "SUCCESSFUL", "FAILED", "DELETION_PENDING", "DELETION_FAILED")
_COPIED = (
    "type",
    "instance",
    "location",
    "backupKind",
    "databaseVersion",
    "maxChargeableBytes",
    "error",
    "description",
)


@dataclass(frozen=True)
class DeletedInstance:
    """An instance that is deleted, and what its settings leave: retained backups, a final backup, both or nothing.

    `ago`: from the deletion to the start of the world; negative if it follows, so that the instance exists until then.
    `automated_expiry`: the API states when retained automated backups expire; whether the real one does is not known.
    `on_demand_days`: the expiry that on-demand backups were made with. `fields` override those of each of its backups;
    one that is None is absent.
    """

    name: str
    ago: timedelta
    scenario: Scenario = SCENARIOS["backups-retained"]
    automated_expiry: bool = False
    on_demand_days: int | None = None
    fields: Mapping[str, object] = field(default_factory=dict)


def backup(run: Resource, instance: Resource) -> Resource:
    """Return the backup of a run; `instance` is the resource of its instance, which each backup contains."""
    project, name, run_id = instance["project"], run["instance"], run["id"]
    interval = {"startTime": run.get("startTime"), "endTime": run.get("endTime")}
    status = str(run["status"])
    identifier = f"{crc32(f'{project}/{name}'.encode()):08x}-{run_id}"
    return {
        "kind": "sql#backup",
        "name": f"projects/{project}/backups/{identifier}",
        "selfLink": f"https://sqladmin.googleapis.com/v1/projects/{project}/backups/{identifier}",
        "state": _STATES.get(status, status),
        "backupRun": f"projects/{project}/instances/{name}/backupRuns/{run_id}",
        "backupInterval": {key: value for key, value in interval.items() if value},
        "instanceSettings": instance,
        **{key: run[key] for key in _COPIED if key in run},
    }


def existing(runs: Iterable[Resource], instance: Resource) -> Iterator[Resource]:
    """Return the backups of an instance that exists; skipped and overdue runs made none."""
    return (backup(run, instance) for run in runs if run["status"] in _LISTED)


def outliving(
    deleted: DeletedInstance, runs: Iterable[Resource], instance: Resource, deletion: datetime, now: datetime
) -> Iterator[Resource]:
    """Return the backups that are left of a deleted instance; `runs` are its runs at its deletion, newest first."""
    left = [*_final_backup(instance, deletion)]
    match instance:
        case {"settings": {"retainBackupsOnDelete": True}}:
            left += _retained_backups(deleted, runs, instance, deletion)
    for item, expiry in left:
        if expiry is None or now < expiry + PURGED_AFTER:
            fields = {**item, "instanceDeletionTime": timestamp(deletion), **deleted.fields}
            yield {key: value for key, value in fields.items() if value is not None}


def _final_backup(instance: Resource, deletion: datetime) -> Iterator[tuple[Resource, datetime | None]]:
    match instance:
        case {"settings": {"finalBackupConfig": {"enabled": True, "retentionDays": int(days)}}}:
            start, end = deletion - timedelta(minutes=5, seconds=12), deletion - timedelta(minutes=4)
            run: Resource = {
                "id": str(round(start.timestamp() * 1000)),
                "instance": instance["name"],
                "type": "FINAL",
                "status": "SUCCESSFUL",
                "startTime": timestamp(start),
                "endTime": timestamp(end),
                "location": "eu",
                "backupKind": "SNAPSHOT",
                "databaseVersion": instance["databaseVersion"],
                "maxChargeableBytes": str(12 * 2**30),
            }
            yield backup(run, instance) | {"expiryTime": timestamp(deletion + days * DAY)}, deletion + days * DAY


def _retained_backups(
    deleted: DeletedInstance, runs: Iterable[Resource], instance: Resource, deletion: datetime
) -> Iterator[tuple[Resource, datetime | None]]:
    days_left = retained_backups(instance)
    for item in existing(runs, instance):
        expiry: datetime | None = None
        if item["type"] == "AUTOMATED":
            expiry = deletion + days_left * DAY
            days_left -= item["state"] == "SUCCESSFUL"
        elif deleted.on_demand_days is not None:
            expiry = _run_start(item) + deleted.on_demand_days * DAY
        stated = expiry and (deleted.automated_expiry or item["type"] != "AUTOMATED")
        yield item | ({"expiryTime": timestamp(expiry)} if expiry and stated else {}), expiry


def _run_start(item: Resource) -> datetime:
    return datetime.fromtimestamp(int(str(item["backupRun"]).rpartition("/")[2]) / 1000, UTC)


def retained_backups(instance: Resource) -> int:
    """Return the number of automated backups that an instance retains."""
    match instance:
        case {"settings": {"backupConfiguration": {"backupRetentionSettings": {"retainedBackups": int(count)}}}}:
            return count
    return 7
