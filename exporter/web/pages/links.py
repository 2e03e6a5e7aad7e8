"""Commands and links about an instance, with names quoted for where they are used. Pure."""

import json
import shlex
from dataclasses import dataclass
from urllib.parse import quote, urlencode, urlsplit

from exporter.facts.model import InstanceId
from exporter.verdict.assess import Verdict
from exporter.verdict.rules import Finding, Protection

RUNBOOKS = "https://github.com/cloudsql-backup-exporter/cloudsql-backup-exporter/blob/main/docs/runbooks"
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
    identity = verdict.instance.id
    name = identity.name
    newest = verdict.history.newest_success
    found = [
        Command("Show the instance", _gcloud("instances", "describe", name, project=identity.project)),
        Command("List its backups", _gcloud("backups", "list", instance=name, project=identity.project)),
        Command("List its operations", _gcloud("operations", "list", instance=name, project=identity.project)),
    ]
    if not verdict.instance.can_have_backups:
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
    """The command with which to begin on the worst finding; empty if that is none of `gcloud sql`."""
    if verdict.state is Protection.UNKNOWN or not verdict.findings:
        return ""
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


def _gcloud(group: str, command: str, *arguments: str, **options: str) -> str:
    """A command line for a shell."""
    words = ["gcloud", "sql", group, command, *arguments, *(f"--{name}={value}" for name, value in options.items())]
    return shlex.join(words)
