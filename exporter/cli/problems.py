"""What a poll could not read, what to grant, and which privileges to remove, as text."""

from collections.abc import Collection

from exporter.cli.selection import unknown_projects
from exporter.cli.terminal import print_advice, print_error
from exporter.errors import ExitCode
from exporter.googleapis.permissions import MEMBER_ADVICE, UNKNOWN_MEMBER, iam_member, permission_named
from exporter.verdict import summary
from exporter.verdict.evaluate import Evaluation


def problems(evaluation: Evaluation, projects: Collection[str] = ()) -> list[str]:
    """What could not be read completely, one text each; `projects` are those that the user selected."""
    return [
        *(f"project {project}: no target names or finds it" for project in unknown_projects(evaluation, projects)),
        *summary.problems(evaluation),
    ]


def grants(evaluation: Evaluation) -> list[str]:
    """The missing permissions, each with the command that grants it, as lines; empty where none is missing."""
    missing = summary.missing_permissions(evaluation)
    if not missing:
        return []
    lines, members = ["Missing permissions:"], set[str]()
    for subject, permission, account in missing:
        member = iam_member(evaluation.config.cloudsql.credentials, account)
        members.add(member)
        command = permission_named(permission).grant_command(subject, member)
        lines += [f"  {subject}: {permission}", f"    {command}"]
    if UNKNOWN_MEMBER in members:
        lines.append(f"  ({MEMBER_ADVICE})")
    return lines


def advice(evaluation: Evaluation) -> list[str]:
    """What to grant, what expires soon, and which privileges to remove, as lines; empty where all is well."""
    lines = [*grants(evaluation), *_expiring(evaluation)]
    if evaluation.exporter.unneeded_privileges:
        lines += ["Unneeded privileges:", *(f"  {text}" for text in evaluation.exporter.unneeded_privileges)]
    return lines


def _expiring(evaluation: Evaluation) -> list[str]:
    """The deleted instances whose last backup expires soon, as lines; empty without any."""
    found = summary.expiring_soon(evaluation)
    texts = [f"  {of.id}, deleted {of.deleted_label}: {summary.rfc3339(of.last_expiry)}" for of in found]
    return ["Last backups of deleted instances that expire soon:", *texts] if texts else []


def report_problems(evaluation: Evaluation, projects: Collection[str] = (), *, advise: bool = True) -> ExitCode:
    """Print what could not be read completely and, with `advise`, what to do. Returns the resulting exit code."""
    texts = problems(evaluation, projects)
    for text in texts:
        print_error(text)
    for line in advice(evaluation) if advise else ():
        print_advice(line)
    return ExitCode.UNREADABLE if texts else ExitCode.OK
