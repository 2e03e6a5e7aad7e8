"""Cloud Resource Manager API: searches for projects and folders, and the permissions in a project."""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from exporter.config import CloudSql
from exporter.googleapis.client import ApiClient, Json, build_service, json_object, list_of, loopback_endpoint

PAGE_SIZE = 1000


class ResourceManager:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        endpoint = settings.resource_manager_endpoint or loopback_endpoint(settings)
        service = build_service("cloudresourcemanager", "v3", endpoint, settings.universe_domain)
        self._client, self._projects, self._folders = client, service.projects(), service.folders()

    def search_projects(self, query: str, deadline: float) -> Iterator[str]:
        """The ids of the active projects that match a query."""
        for project in self._search_projects(query, f"search {query!r}", deadline):
            yield str(project["projectId"])

    def projects_in(self, parent: str, deadline: float) -> Iterator[str]:
        """The ids of the active projects directly in `folders/ID` or `organizations/ID`."""
        for project in self._search_projects(f"parent:{parent}", parent, deadline):
            if project.get("parent", parent) == parent:
                yield str(project["projectId"])

    def folders_in(self, parent: str, deadline: float) -> Iterator[str]:
        """The resource names of the active folders directly in `folders/ID` or `organizations/ID`."""
        request = self._folders.search(query=f"parent={parent} AND state=ACTIVE", pageSize=PAGE_SIZE)
        decode, next_request = partial(_page, key="folders", subject=parent), self._folders.search_next
        for folders in self._client.pages("folders.search", parent, request, next_request, deadline, decode):
            for folder in folders:
                active = folder.get("state", "ACTIVE") == "ACTIVE"
                if active and folder.get("parent", parent) == parent and folder.get("name"):
                    yield str(folder["name"])

    def permissions(self, project: str, asked: Sequence[str], deadline: float) -> list[str]:
        """Those of the asked permissions that the credentials have in a project."""
        request = self._projects.testIamPermissions(resource=f"projects/{project}", body={"permissions": asked})

        def decode(body: bytes) -> list[str]:
            granted = list_of(json_object(body).get("permissions"), "permissions", project)
            return [permission for permission in asked if permission in granted]

        return self._client.execute("projects.testIamPermissions", f"project {project}", request, deadline, decode)

    def _search_projects(self, query: str, subject: str, deadline: float) -> Iterator[Json]:
        """The active projects that match a query."""
        request: Any = self._projects.search(query=query, pageSize=PAGE_SIZE)
        decode, next_request = partial(_page, key="projects", subject=query), self._projects.search_next
        for projects in self._client.pages("projects.search", subject, request, next_request, deadline, decode):
            yield from (item for item in projects if item.get("state") == "ACTIVE" and item.get("projectId"))


def _page(body: bytes, key: str, subject: str) -> tuple[list[Json], object]:
    """The items of a page, and the token of the next one."""
    content = json_object(body)
    items = [item for item in list_of(content.get(key), key, subject) if isinstance(item, dict)]
    return items, content.get("nextPageToken")
