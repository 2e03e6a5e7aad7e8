"""Cloud SQL Admin API: instances and backup runs."""

from collections.abc import Iterator

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis.client import ApiClient, Json, build_service, items_of
from exporter.scan.source import UNKNOWN_REGION, Page, SourceError

PAGE_SIZE = 1000
NEWEST_PAGE_SIZE = 100
INSTANCE_FIELDS = (
    "kind,items(name,region,state,instanceType,databaseVersion,createTime,"
    "settings(activationPolicy,edition,availabilityType,userLabels,backupConfiguration)),"
    "nextPageToken,warnings"
)
RUN_FIELDS = "id,instance,type,status,windowStartTime,enqueuedTime,startTime,endTime,error,location,maxChargeableBytes"
RUNS_FIELDS = f"kind,items({RUN_FIELDS}),nextPageToken"


class CloudSqlAdmin:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        service = build_service("sqladmin", settings.api_version, settings.endpoint, settings.universe_domain)
        self._client = client
        # Each of these takes the library half a millisecond to make: made once, and shared by all threads.
        self._instances, self._backup_runs = service.instances(), service.backupRuns()

    def instances(self, project: str, deadline: float) -> Iterator[Page]:
        """All instances of a project."""
        request = self._instances.list(project=project, maxResults=PAGE_SIZE, fields=INSTANCE_FIELDS)
        for body in self._client.pages(
            "instances.list",
            f"project {project}",
            request,
            self._instances.list_next,
            deadline,
            "sql#instancesList",
        ):
            yield Page(items_of(body, "items", project), tuple(_unreachable_regions(body, project)))

    def backup_runs(self, project: str, instance: str, deadline: float, *, newest: bool = False) -> Iterator[Page]:
        """All backup runs of an instance, or of all of them; with `newest`, in short pages."""
        size = NEWEST_PAGE_SIZE if newest else PAGE_SIZE
        request = self._backup_runs.list(project=project, instance=instance, maxResults=size, fields=RUNS_FIELDS)
        for body in self._client.pages(
            "backupRuns.list",
            f"project {project}",
            request,
            self._backup_runs.list_next,
            deadline,
            "sql#backupRunsList",
        ):
            yield Page(items_of(body, "items", project))

    def backup_run(self, project: str, instance: str, run_id: str, deadline: float) -> object | None:
        """One backup run; None where it does not exist."""
        request = self._backup_runs.get(project=project, instance=instance, id=run_id, fields=f"kind,{RUN_FIELDS}")
        try:
            return self._client.execute("backupRuns.get", f"project {project}", request, deadline, "sql#backupRun")
        except SourceError as error:
            if error.result is PollResult.NOT_FOUND:
                return None
            raise


def _unreachable_regions(body: Json, project: str) -> Iterator[str]:
    for warning in items_of(body, "warnings", project):
        if isinstance(warning, dict) and warning.get("code") == "REGION_UNREACHABLE":
            region = warning.get("region")
            yield region if isinstance(region, str) and region.isprintable() and region else UNKNOWN_REGION
