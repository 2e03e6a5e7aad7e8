"""The data source of the exporter: Google's APIs behind the interface that the scan reads from."""

import time
from collections.abc import Iterator
from datetime import timedelta

from exporter.config import CloudSql
from exporter.googleapis.backupdr import BackupDr
from exporter.googleapis.client import ApiClient, Observe
from exporter.googleapis.cloudsql import CloudSqlAdmin
from exporter.googleapis.permissions import WRITE_PERMISSIONS
from exporter.googleapis.resourcemanager import ResourceManager
from exporter.googleapis.retry import Retrying
from exporter.scan.source import Page

ADVICE_DEADLINE = 5.0  # seconds in which a request is retried that only leads to advice


class GoogleApis:
    """Google's APIs with one shared client. Safe to share between threads."""

    def __init__(
        self, settings: CloudSql, timeout: timedelta, connections: int, retrying: Retrying, observe: Observe
    ) -> None:
        """Read the credentials; raises CredentialsError. Sends no request yet."""
        self._client = ApiClient(settings, timeout, connections, retrying, observe)
        self.cloudsql = CloudSqlAdmin(self._client, settings)
        self.backup_dr = BackupDr(self._client, settings)
        self.resource_manager = ResourceManager(self._client, settings)

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def write_permissions(self, project: str) -> list[str]:
        """The permissions to change something in a project that the credentials have. Raises SourceError."""
        deadline = time.monotonic() + ADVICE_DEADLINE
        return self.resource_manager.permissions(project, WRITE_PERMISSIONS, deadline)

    def source(self, deadline: float) -> "GoogleSource":
        """A Source that retries transient errors until `deadline`, on the monotonic clock."""
        return GoogleSource(self, deadline)


class GoogleSource:
    """A `Source` with a deadline for all of its requests. Every method raises SourceError."""

    def __init__(self, apis: GoogleApis, deadline: float) -> None:
        self._apis, self._deadline = apis, deadline

    def instances(self, project: str) -> Iterator[Page]:
        """All instances of a project."""
        return self._apis.cloudsql.instances(project, self._deadline)

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """All backup runs of an instance, or of all for ALL_INSTANCES; with `newest`, in short pages."""
        return self._apis.cloudsql.backup_runs(project, instance, self._deadline, newest=newest)

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        """One backup run; None where it does not exist."""
        return self._apis.cloudsql.backup_run(project, instance, run_id, self._deadline)

    def backups(self, project: str) -> Iterator[Page]:
        """All backups of a project, of instances that exist and of deleted ones."""
        return self._apis.cloudsql.backups(project, self._deadline)

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        """The associations of the project's resources, of any kind and region, with backup plans."""
        return self._apis.backup_dr.associations(project, self._deadline)

    def backup_plans(self, project: str) -> Iterator[Page]:
        """The backup plans in a project, of any region."""
        return self._apis.backup_dr.plans(project, self._deadline)

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that match a Cloud Resource Manager search."""
        return self._apis.resource_manager.search_projects(query, self._deadline)
