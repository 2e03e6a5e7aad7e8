"""Cloud Asset Inventory API: the projects and Cloud SQL instances at any depth below a folder or organization."""

import re
from collections.abc import Iterator
from functools import partial

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis.client import ApiClient, Json, build_service, json_object, list_of, loopback_endpoint
from exporter.scan.source import SourceError

PAGE_SIZE = 500
PROJECT, INSTANCE = "cloudresourcemanager.googleapis.com/Project", "sqladmin.googleapis.com/Instance"
READ_MASK = "name,state,additionalAttributes"

_PROJECT_IN_NAME = re.compile(r"//[^/]+/projects/([^/]+)(?:/.*)?")


class CloudAssetInventory:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        endpoint = settings.cloud_asset_endpoint or loopback_endpoint(settings)
        service = build_service("cloudasset", "v1", endpoint, settings.universe_domain)
        self._client, self._methods = client, service.v1()

    def projects(self, scope: str, deadline: float) -> Iterator[str]:
        """The ids of the active projects below `folders/ID` or `organizations/ID`, at any depth."""
        for item in self._search(scope, PROJECT, deadline):
            if item.get("state") in (None, "", "ACTIVE"):
                yield _project_id(item, scope)

    def projects_with_instances(self, scope: str, deadline: float) -> Iterator[str]:
        """The ids of the projects below a scope with Cloud SQL instances. It can be hours late, and repeats ids."""
        for item in self._search(scope, INSTANCE, deadline):
            yield _project_id(item, scope)

    def _search(self, scope: str, asset_type: str, deadline: float) -> Iterator[Json]:
        # One type at a time: with several, the library cannot build the request for the next page.
        request = self._methods.searchAllResources(
            scope=scope, assetTypes=asset_type, pageSize=PAGE_SIZE, readMask=READ_MASK
        )
        next_request = self._methods.searchAllResources_next
        decode = partial(_results, scope=scope)
        for results in self._client.pages("searchAllResources", scope, request, next_request, deadline, decode):
            yield from (item for item in results if isinstance(item, dict))


def _results(body: bytes, scope: str) -> tuple[list[object], object]:
    content = json_object(body)
    return list_of(content.get("results"), "results", scope), content.get("nextPageToken")


def _project_id(item: Json, scope: str) -> str:
    """The id of the project that an item is, or belongs to. Raises SourceError if it has only its number."""
    attributes = item.get("additionalAttributes")
    named = attributes.get("projectId") if isinstance(attributes, dict) else None
    match = _PROJECT_IN_NAME.fullmatch(str(item.get("name")))
    for project in (named, match and match[1]):
        if isinstance(project, str) and project and not project.isdecimal():
            return project
    text = f"searchAllResources of {scope}: an item has no project id: {str(item.get('name'))[:100]}"
    raise SourceError(PollResult.BAD_RESPONSE, text)
