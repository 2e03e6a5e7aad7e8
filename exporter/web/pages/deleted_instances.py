"""The page of deleted instances: what is left of them, for how long, and the commands to keep it. Pure."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from exporter.facts.collected import Collection
from exporter.facts.deleted_instances import DeletedInstance, LastExpiry
from exporter.facts.model import BackupType
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.summary import EXPIRES_SOON
from exporter.web.pages.links import Command, instance_path, runbook
from exporter.web.pages.verdicts import Badge
from exporter.web.pages.words import ICONS

MAX_ROWS = 500
MAX_COMMANDS = 20  # deleted instances with commands


@dataclass(frozen=True, slots=True)
class DeletedInstanceRow:
    """A deleted instance. `path` is that of the page of an instance that uses its name now; empty without one."""

    instance: DeletedInstance
    badge: Badge
    text: str
    path: str
    commands: Sequence[Command]

    @property
    def expired(self) -> bool:
        """Its last backup should be gone, unless its expiry was extended since."""
        return self.badge is _EXPIRED


@dataclass(frozen=True, slots=True)
class DeletedInstancesPage:
    """What the page shows: the first MAX_ROWS of the selected deleted instances, those that expire first at the top."""

    collected: bool
    project: str | None
    projects: Sequence[str]
    rows: Sequence[DeletedInstanceRow]
    total: int

    @property
    def commands(self) -> Sequence[DeletedInstanceRow]:
        """The first of those that expire soon."""
        return [row for row in self.rows if row.badge in (_EXPIRED, _SOON)][:MAX_COMMANDS]

    @property
    def runbook(self) -> str:
        """The URL of the runbook."""
        return runbook("CloudSQLBackupLastCopyExpiring")


_EXPIRED = Badge("expired", ICONS["at_risk"], "at_risk")
_SOON = Badge("expires soon", ICONS["at_risk"], "at_risk")
_KEPT = Badge("kept", ICONS["protected"], "protected")
_WAS_KEPT = Badge("was kept", ICONS["stale"], "stale")
_UNKNOWN = Badge("unknown", ICONS["unknown"], "unknown")
_NOTHING = Badge("nothing left", ICONS["unprotected"], "unprotected")
_TEXTS = {
    None: "no backup that can be restored",
    LastExpiry.REPORTED: "as the API reports",
    LastExpiry.ESTIMATED: "estimated from the retention",
    LastExpiry.NEVER: "until somebody deletes it",
    LastExpiry.UNKNOWN: "the API does not say when the last backup expires",
}


def deleted_instances_page(evaluation: Evaluation, project: str | None) -> DeletedInstancesPage:
    """The page of a project, or of all."""
    found = [of for of in evaluation.deleted_instances if project in (None, of.id.project)]
    found.sort(key=_urgency)
    return DeletedInstancesPage(
        collected=Collection.DELETED_INSTANCES in evaluation.config.collect.collections,
        project=project,
        projects=[status.project for status in evaluation.projects],
        rows=[_row(instance, evaluation) for instance in found[:MAX_ROWS]],
        total=len(found),
    )


def _urgency(instance: DeletedInstance) -> tuple[int, float]:
    """Lower comes first: by expiry, then those of which it is not known, or never; last what cannot be restored."""
    match instance.last_expiry_status:
        case LastExpiry.UNKNOWN:
            return 1, 0.0
        case LastExpiry.NEVER:
            return 2, 0.0
        case _:
            return (0, instance.last_expiry.timestamp()) if instance.last_expiry else (3, 0.0)


def _row(instance: DeletedInstance, evaluation: Evaluation) -> DeletedInstanceRow:
    project = evaluation.by_project.get(instance.id.project)
    badge = _badge(instance, evaluation.now)
    poll = evaluation.config.poll
    outdated = evaluation.now - instance.read_at > poll.full_listing_every + poll.stale_after
    return DeletedInstanceRow(
        instance=instance,
        badge=_WAS_KEPT if outdated and badge is _KEPT else badge,
        text=_TEXTS[instance.last_expiry_status],
        path=instance_path(instance.id) if project and instance.id.name in project.verdicts else "",
        commands=_commands(instance),
    )


def _badge(instance: DeletedInstance, now: datetime) -> Badge:
    match instance.last_expiry_status:
        case LastExpiry.UNKNOWN:
            return _UNKNOWN
        case LastExpiry.NEVER:
            return _KEPT
        case _ if instance.last_expiry is None:
            return _NOTHING
        case _ if instance.last_expiry < now:
            return _EXPIRED
        case _:
            return _SOON if instance.last_expiry - now < EXPIRES_SOON else _KEPT


def _commands(instance: DeletedInstance) -> list[Command]:
    """The commands with which to look at the backups, and to keep the newest one."""
    project, name = f"--project={instance.id.project}", instance.newest_name
    found = [Command("List its backups", _gcloud("list", project, f"--filter=instance:{instance.id.name}"))]
    if not name:
        return found
    found.append(Command("Show the newest one", _gcloud("describe", name, project)))
    if instance.newest_type is BackupType.FINAL:
        found.append(Command("Keep it for 90 days from now", _gcloud("patch", name, project, "--ttl-days=90")))
    restored = f"--restore-instance={instance.id.name}-restored"
    purpose = "Restore it to another instance, which must exist and is overwritten"
    found.append(Command(purpose, _gcloud("restore", name, project, restored)))
    return found


def _gcloud(command: str, *arguments: str) -> str:
    """A command line for a shell."""
    return shlex.join(["gcloud", "sql", "backups", command, *arguments])
