"""Backup and DR API: backup plans, and their associations with instances."""

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

from exporter.config import CloudSql
from exporter.googleapis.client import ApiClient, build_service, json_object, list_of
from exporter.scan.source import UNKNOWN_REGION, Page

PAGE_SIZE = 1000
ASSOCIATIONS_FIELDS = (
    "backupPlanAssociations(name,resource,resourceType,backupPlan,dataSource,state,rulesConfigInfo("
    "ruleId,lastBackupState,lastBackupError(code,message),lastSuccessfulBackupConsistencyTime),"
    "cloudSqlInstanceBackupPlanAssociationProperties),nextPageToken,unreachable"
)
PLANS_FIELDS = "backupPlans(name,backupVault,backupRules(ruleId,backupRetentionDays)),nextPageToken,unreachable"


class BackupDr:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        # A simulated Admin API serves these methods too: a simulation sends no request to Google.
        simulated = settings.endpoint if settings.endpoint and settings.endpoint.startswith("http://") else None
        endpoint = settings.backup_dr_endpoint or simulated
        service = build_service("backupdr", "v1", endpoint, settings.universe_domain)
        locations = service.projects().locations()
        self._client = client
        self._associations, self._plans = locations.backupPlanAssociations(), locations.backupPlans()

    def associations(self, project: str, deadline: float) -> Iterator[Page]:
        """The associations of the project's resources with backup plans."""
        request = self._associations.list(parent=_everywhere(project), pageSize=PAGE_SIZE, fields=ASSOCIATIONS_FIELDS)
        return self._client.pages(
            "backupPlanAssociations.list",
            f"project {project}",
            request,
            self._associations.list_next,
            deadline,
            partial(_page, project=project, key="backupPlanAssociations"),
        )

    def plans(self, project: str, deadline: float) -> Iterator[Page]:
        """The backup plans in a project."""
        request = self._plans.list(parent=_everywhere(project), pageSize=PAGE_SIZE, fields=PLANS_FIELDS)
        return self._client.pages(
            "backupPlans.list",
            f"project {project}",
            request,
            self._plans.list_next,
            deadline,
            partial(_page, project=project, key="backupPlans"),
        )


def _everywhere(project: str) -> str:
    return f"projects/{project}/locations/-"


def _page(body: bytes, project: str, key: str) -> tuple[Page, object]:
    """The page in a body, and the token of the next page. An object without any known key is no listing."""
    content = json_object(body)
    if content and not content.keys() & {key, "nextPageToken", "unreachable"}:
        raise ValueError(f"it has the keys {', '.join(sorted(content))[:60]!r}")
    items = [json.dumps(item).encode() for item in list_of(content.get(key), key, project)]
    regions = tuple(_region(name) for name in list_of(content.get("unreachable"), "unreachable", project))
    token = content.get("nextPageToken") or None
    return Page(items, regions, last=token is None), token


def _region(location: Any) -> str:
    """The region of an unreachable location: its name, or the last segment of its resource name."""
    name = location.rpartition("/")[2] if isinstance(location, str) else ""
    return name if name.isprintable() and name not in ("", "-") else UNKNOWN_REGION
