"""Reading the backups of deleted instances of one project.

`backups.list` lists the backups of all instances, and its filter does not know deleted ones: everything is read, and
items of instances that exist are skipped. An item that cannot be read never affects another.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from exporter.facts.deleted_instances import Backup, BackupState, DeletedInstance, deleted_instances
from exporter.facts.model import BackupType
from exporter.scan.incremental import CLOCK_SKEW
from exporter.scan.parse import Fields, Parsed, UnreadableItemError, instance_name, json_value
from exporter.scan.source import UNKNOWN_REGION, Source

LATEST_EXPIRY = datetime.max.replace(tzinfo=UTC)
MAX_RETAINED_BACKUPS = 10_000  # a larger number is not plausible


@dataclass(frozen=True, slots=True)
class Options:
    """Options for reading deleted instances.

    `report_unreadable` is called with what could not be read of each item that is not fully readable.
    """

    selects: Callable[[DeletedInstance], bool]
    report_unreadable: Callable[[str], None]


def read_deleted_instances(
    source: Source, project: str, now: datetime, options: Options, before: Iterable[DeletedInstance]
) -> tuple[DeletedInstance, ...]:
    """The selected deleted instances of a project of which backups are left. Raises SourceError.

    Those from `before` that an incomplete listing may lack stay as they were.
    """
    pages = list(source.backups(project))
    regions = {region for page in pages for region in page.unreachable_regions}
    backups = _readable((item for page in pages for item in page.items), now, options)
    listed = {instance.key: instance for instance in deleted_instances(project, backups, now)}
    for known in before:
        found = listed.get(known.key)
        if _may_be_missing(known, regions) and (found is None or found.retained < known.retained):
            listed[known.key] = known
    return tuple(instance for _, instance in sorted(listed.items()) if options.selects(instance))


def _may_be_missing(instance: DeletedInstance, regions: set[str]) -> bool:
    """Whether a listing without these regions can lack backups of an instance."""
    return bool(regions) and (
        UNKNOWN_REGION in regions or not instance.places or not regions.isdisjoint(instance.places)
    )


def _readable(items: Iterable[bytes], now: datetime, options: Options) -> Iterator[Backup]:
    for item in items:
        try:
            parsed = parse_backup(json_value(item), latest=now + CLOCK_SKEW)
        except UnreadableItemError as error:
            options.report_unreadable(str(error))
            continue
        if parsed is None:
            continue
        if parsed.unreadable:
            options.report_unreadable(", ".join(parsed.unreadable))
        yield parsed.fact


def parse_backup(item: object, *, latest: datetime) -> Parsed[Backup] | None:
    """Read an item of `backups.list`, in the spelling of the schema or that of published examples.

    None for a backup of an instance that exists. `latest` is the latest plausible timestamp, except for an expiry.
    Raises UnreadableItemError if the instance or the time of its deletion cannot be read.
    """
    fields = Fields.of(item, latest)
    if fields.is_blank("instanceDeletionTime"):
        return None
    deleted = fields.timestamp("instanceDeletionTime")
    if deleted is None:
        raise UnreadableItemError("instanceDeletionTime")
    name = fields.text("instance") or _instance_of_run(fields.text("backupRun") or fields.text("backup_run"))
    if name is None:
        raise UnreadableItemError("instance")
    state = "status" if fields.is_blank("state") and not fields.is_blank("status") else "state"
    instance = fields.child("instanceSettings")
    settings = instance.child("settings")
    retention = settings.child("backupConfiguration").child("backupRetentionSettings")
    backup = Backup(
        name=fields.text("name") or "",
        instance=instance_name(name),
        deleted=deleted,
        type=fields.enum("type", BackupType),
        state=fields.enum(state, BackupState),
        start=fields.child("backupInterval").timestamp("startTime"),
        expires=not fields.is_blank("expiryTime"),
        expiry=None if fields.is_blank("expiryTime") else fields.timestamp("expiryTime", LATEST_EXPIRY),
        size_bytes=fields.integer("maxChargeableBytes"),
        location=fields.text("location"),
        region=instance.text("region"),
        retained_backups=_retained_backups(retention),
        user_labels=settings.string_map("userLabels"),
    )
    for field, value in (("type", backup.type), (state, backup.state)):
        if value is type(value).UNKNOWN and fields.is_blank(field):
            fields.unreadable.append(field)
    return fields.parsed(backup)


def _retained_backups(retention: Fields) -> int | None:
    """The number of automated backups to retain; None if it is not plausible, or counts something else."""
    number = retention.integer("retainedBackups")
    counted = retention.text("retentionUnit") in (None, "COUNT", "RETENTION_UNIT_UNSPECIFIED")
    return number if counted and number is not None and 0 < number <= MAX_RETAINED_BACKUPS else None


def _instance_of_run(run: str | None) -> str | None:
    """The instance in the name of a backup run: projects/PROJECT/instances/INSTANCE/backupRuns/ID."""
    match (run or "").split("/"):
        case ["projects", _, "instances", str(instance), "backupRuns", _] if instance:
            return instance
        case _:
            return None
