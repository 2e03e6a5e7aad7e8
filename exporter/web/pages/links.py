"""Commands and links about an instance, with names quoted for where they are used. Pure."""

import json
import shlex
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from exporter.facts.backup_plans import InstancePlan
from exporter.facts.model import Instance, InstanceId
from exporter.verdict.assess import Verdict
from exporter.verdict.rules import Finding, Protection

RUNBOOKS = "https://github.com/cloudsql-backup-exporter/cloudsql-backup-exporter/blob/main/docs/runbooks"
LIST_ASSOCIATIONS = "List the associations with backup plans"
DESCRIBE_ASSOCIATION = "Show its association with a backup plan"
TRIGGER_BACKUP = "Create a backup now, by a rule of the plan"
DASHBOARD = "cloudsql-backup-instance"  # the uid of the dashboard Instance in grafana/


@dataclass(frozen=True, slots=True)
class Sites:
    """URLs of Grafana and Alertmanager without a slash at their end; empty where there is none."""

    grafana: str = ""
    alertmanager: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """A command of gcloud and what it does."""

    purpose: str
    command: str


def site_url(text: str) -> str:
    """Return the URL of a site without a slash at its end. Raises ValueError."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0 and url.username is None
    except ValueError:
        valid = False
    if not valid or url.query or url.fragment or not text.isprintable() or " " in text:
        raise ValueError(f"{text!r} is not a valid URL; write http(s)://HOST[:PORT][/PATH]")
    return text.rstrip("/")


def instance_path(instance: InstanceId) -> str:
    """The path of an instance's page, relative to the status page."""
    return f"instances/{quote(instance.project, safe='')}/{quote(instance.name, safe='')}"


def runbook(alert: str) -> str:
    """The URL of the runbook of an alert."""
    return f"{RUNBOOKS}/{alert}.md"


def dashboard(instance: InstanceId, sites: Sites) -> str:
    """The URL of the dashboard of an instance; empty without Grafana."""
    variables = urlencode({"var-project": instance.project, "var-instance": instance.name}, quote_via=quote)
    return f"{sites.grafana}/d/{DASHBOARD}?{variables}" if sites.grafana else ""


def new_silence(instance: InstanceId, sites: Sites) -> str:
    """The URL of Alertmanager's form for a silence, filled in for an instance; empty without Alertmanager."""
    if not sites.alertmanager:
        return ""
    names = {"project": instance.project, "instance_id": instance.name}
    matchers = ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in names.items())
    return f"{sites.alertmanager}/#/silences/new?filter={quote(f'{{{matchers}}}', safe='')}"


def commands(verdict: Verdict) -> list[Command]:
    """The commands with which to investigate, back up and restore an instance."""
    unreadable = Finding.DATA_UNREADABLE in verdict.findings
    if verdict.collected.plan:
        found = _plan_commands(verdict.instance, verdict.collected.plan)
        return [command for command in found if not (unreadable and command.purpose == TRIGGER_BACKUP)]
    identity = verdict.instance.id
    name = identity.name
    newest = verdict.history.newest_success
    found = [
        Command("Show the instance", _gcloud("instances", "describe", name, project=identity.project)),
        Command("List its backups", _gcloud("backups", "list", instance=name, project=identity.project)),
        Command("List its operations", _gcloud("operations", "list", instance=name, project=identity.project)),
    ]
    if not verdict.instance.can_have_backups or unreadable:
        return found
    create = _gcloud("backups", "create", instance=name, project=identity.project)
    found.append(Command("Create a backup now", create))
    if newest:
        options = {"restore-instance": f"{name}-restored", "backup-instance": name, "project": identity.project}
        purpose = "Restore the newest backup to another instance, which must exist and is overwritten"
        found.append(Command(purpose, _gcloud("backups", "restore", newest.id, **options)))
    if verdict.instance.backups.pitr_enabled:
        clone = _gcloud("instances", "clone", name, f"{name}-clone", project=identity.project)
        purpose = "Clone the instance as it was at a time; change the time"
        point = verdict.recovery_point
        if point:
            clone += f" --point-in-time={shlex.quote(point.strftime('%Y-%m-%dT%H:%M:%SZ'))}"
        found.append(Command(purpose, clone))
    else:
        clone = _gcloud("instances", "clone", name, f"{name}-clone", project=identity.project)
        found.append(Command("Clone the instance as it is now", clone))
    return found


def next_command(verdict: Verdict) -> str:
    """The command with which to begin on the worst finding; empty if that is none of gcloud."""
    if verdict.state is Protection.UNKNOWN or not verdict.findings:
        return ""
    if verdict.collected.plan:
        return _next_plan_command(verdict.findings[0], verdict)
    identity = verdict.instance.id
    match verdict.findings[0]:
        case (
            Finding.BACKUPS_DISABLED
            | Finding.NEVER_SUCCEEDED
            | Finding.STALE_CRITICAL
            | Finding.STALE
            | Finding.OVERDUE
        ):
            return _gcloud("backups", "create", instance=identity.name, project=identity.project)
        case Finding.LAST_RUN_FAILED | Finding.SLOW:
            return _gcloud("backups", "list", instance=identity.name, project=identity.project)
        case Finding.STUCK:
            return _gcloud("operations", "list", instance=identity.name, project=identity.project)
        case _:
            return ""


def _next_plan_command(finding: Finding, verdict: Verdict) -> str:
    """The same for an instance with a backup plan."""
    purposes = {
        Finding.BACKUPS_DISABLED: LIST_ASSOCIATIONS,
        Finding.NEVER_SUCCEEDED: TRIGGER_BACKUP,
        Finding.STALE_CRITICAL: TRIGGER_BACKUP,
        Finding.STALE: TRIGGER_BACKUP,
        Finding.LAST_RUN_FAILED: DESCRIBE_ASSOCIATION,
    }
    found = {command.purpose: command.command for command in commands(verdict)}
    return found.get(purposes.get(finding, ""), "")


def _plan_commands(instance: Instance, plan: InstancePlan) -> list[Command]:
    """The commands for an instance whose backups are made by a backup plan."""
    project, group = instance.id.project, ("backup-dr", "backup-plan-associations")
    location = {"location": instance.region} if instance.region else {}
    found = [
        Command("Show the instance", _gcloud("instances", "describe", instance.id.name, project=project)),
        Command(LIST_ASSOCIATIONS, _command(*group, "list", project=project, **location)),
    ]
    association = plan.association
    if association and association.name:
        found.append(Command(DESCRIBE_ASSOCIATION, _command(*group, "describe", association.name)))
    if association and association.name and association.rules:
        options = {"backup-rule-id": association.rules[0].id}
        create = _command(*group, "trigger-backup", association.name, **options)
        found.append(Command(TRIGGER_BACKUP, create))
    if association and association.plan:
        found.append(Command("Show the plan", _command("backup-dr", "backup-plans", "describe", association.plan)))
    return found


def _gcloud(group: str, command: str, *arguments: str, **options: str) -> str:
    """A command line of `gcloud sql` for a shell."""
    return _command("sql", group, command, *arguments, **options)


def _command(*words: str, **options: str) -> str:
    """A command line of gcloud for a shell."""
    return shlex.join(["gcloud", *words, *(f"--{name}={value}" for name, value in options.items())])
