"""Cloud Resource Manager API: the search for projects, and the permissions in a project."""

from collections.abc import Iterator, Sequence

from exporter.config import CloudSql
from exporter.googleapis.client import ApiClient, build_service, json_object, list_of

PAGE_SIZE = 1000


class ResourceManager:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        # A simulated Admin API serves these methods too: a simulation sends no request to Google.
        simulated = settings.endpoint if settings.endpoint and settings.endpoint.startswith("http://") else None
        endpoint = settings.resource_manager_endpoint or simulated
        service = build_service("cloudresourcemanager", "v3", endpoint, settings.universe_domain)
        self._client, self._projects = client, service.projects()

    def search_projects(self, query: str, deadline: float) -> Iterator[str]:
        """The ids of the active projects that match a query."""
        request = self._projects.search(query=query, pageSize=PAGE_SIZE)

        def decode(body: bytes) -> tuple[list[object], object]:
            content = json_object(body)
            return list_of(content.get("projects"), "projects", query), content.get("nextPageToken")

        for projects in self._client.pages(
            "projects.search", f"search {query!r}", request, self._projects.search_next, deadline, decode
        ):
            for item in projects:
                if isinstance(item, dict) and item.get("state") == "ACTIVE" and item.get("projectId"):
                    yield str(item["projectId"])

    def permissions(self, project: str, asked: Sequence[str], deadline: float) -> list[str]:
        """Those of the asked permissions that the credentials have in a project."""
        request = self._projects.testIamPermissions(resource=f"projects/{project}", body={"permissions": asked})

        def decode(body: bytes) -> list[str]:
            granted = list_of(json_object(body).get("permissions"), "permissions", project)
            return [permission for permission in asked if permission in granted]

        return self._client.execute("projects.testIamPermissions", f"project {project}", request, deadline, decode)
