"""IAM permissions that the exporter needs, the roles that have them, and the commands that grant these roles.

Source: the access control pages of Cloud SQL and Resource Manager, and IAM's reference of roles.
"""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from exporter.config import Credentials

UNKNOWN_MEMBER = "MEMBER"  # stands for an account in a command
MEMBER_ADVICE = (
    f"{UNKNOWN_MEMBER} is the account of the exporter, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com"
)


@dataclass(frozen=True, slots=True)
class Permission:
    """A permission, and the predefined role with the fewest permissions that has it.

    `binding_command` is the command that adds a binding for the role to a policy; `{resource}` stands for the project
    that could not be read. A search covers what its organization, or single folders or projects, allow; one of a folder
    or organization names that.
    """

    name: str
    role: str
    binding_command: str = "gcloud projects add-iam-policy-binding {resource}"

    def grant_command(self, resource: str, member: str) -> str:
        """The command that grants the role to a member on a project, `folders/ID` or `organizations/ID`, quoted."""
        kind, _, identifier = resource.partition("/")
        command = _BINDING_COMMANDS.get(kind, self.binding_command)
        binding = command.format(resource=shlex.quote(identifier if kind in _BINDING_COMMANDS else resource))
        return f"{binding} --member={shlex.quote(member)} --role={self.role} --condition=None"


_BINDING_COMMANDS = {
    "folders": "gcloud resource-manager folders add-iam-policy-binding {resource}",
    "organizations": "gcloud organizations add-iam-policy-binding {resource}",
}
_OF_ORGANIZATION = "gcloud organizations add-iam-policy-binding ORGANIZATION_ID"
_CLOUD_SQL_VIEWER = "roles/cloudsql.viewer"
_BACKUP_DR_VIEWER = "roles/backupdr.viewer"

PERMISSIONS: Mapping[str, Permission] = MappingProxyType(  # by the API method that needs it
    {
        "instances.list": Permission("cloudsql.instances.list", _CLOUD_SQL_VIEWER),
        "backupRuns.list": Permission("cloudsql.backupRuns.list", _CLOUD_SQL_VIEWER),
        "backupRuns.get": Permission("cloudsql.backupRuns.get", _CLOUD_SQL_VIEWER),
        "instances.getLatestRecoveryTime": Permission("cloudsql.instances.get", _CLOUD_SQL_VIEWER),
        "backups.list": Permission("cloudsql.backupRuns.list", _CLOUD_SQL_VIEWER),
        "backupPlanAssociations.list": Permission("backupdr.backupPlanAssociations.list", _BACKUP_DR_VIEWER),
        "backupPlans.list": Permission("backupdr.backupPlans.list", _BACKUP_DR_VIEWER),
        "projects.search": Permission("resourcemanager.projects.get", "roles/browser", _OF_ORGANIZATION),
        "folders.search": Permission("resourcemanager.folders.get", "roles/browser", _OF_ORGANIZATION),
        "searchAllResources": Permission(
            "cloudasset.assets.searchAllResources", "roles/cloudasset.viewer", _OF_ORGANIZATION
        ),
    }
)

BACKUP_DR_METHODS = frozenset({"backupPlanAssociations.list", "backupPlans.list"})  # of an API with a quota of its own
UNRESTRICTED_METHODS = frozenset({"projects.testIamPermissions"})  # need no permission

# Permissions to change backups, instances or access: the exporter needs none of them. roles/cloudsql.viewer has none.
WRITE_PERMISSIONS = (
    "cloudsql.backupRuns.create",
    "cloudsql.backupRuns.delete",
    "cloudsql.instances.create",
    "cloudsql.instances.delete",
    "cloudsql.instances.restoreBackup",
    "cloudsql.instances.update",
    "resourcemanager.projects.setIamPolicy",
)


def permission_named(name: str) -> Permission:
    """The entry of a permission."""
    return next(permission for permission in PERMISSIONS.values() if permission.name == name)


def iam_member(credentials: Credentials, impersonated: str | None = None) -> str:
    """The account of the exporter as IAM policies name it; UNKNOWN_MEMBER where the configuration does not tell it.

    `impersonated` is the account that a target names in place of the credentials.
    """
    account: object = impersonated or credentials.impersonate
    if credentials.file and not account:
        try:
            account = json.loads(credentials.file.read_bytes())["client_email"]
        except (OSError, ValueError, KeyError, TypeError):
            account = None
    return f"serviceAccount:{account}" if isinstance(account, str) else UNKNOWN_MEMBER
