"""The data source of the exporter: Google's APIs behind the interface that the scan reads from."""

import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from functools import cached_property

from exporter.config import CloudSql
from exporter.googleapis.backupdr import BackupDr
from exporter.googleapis.client import ApiClient, Observe
from exporter.googleapis.cloudasset import CloudAssetInventory
from exporter.googleapis.cloudsql import CloudSqlAdmin
from exporter.googleapis.permissions import WRITE_PERMISSIONS
from exporter.googleapis.resourcemanager import ResourceManager
from exporter.googleapis.retry import Retrying
from exporter.scan.source import Page

ADVICE_DEADLINE = 5.0  # seconds in which a request is retried that only leads to advice


class AccountApis:
    """Google's APIs, called as one account; each is built when first used, which takes Google's library some time."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        self._client, self._settings = client, settings

    @cached_property
    def cloudsql(self) -> CloudSqlAdmin:
        """The Cloud SQL Admin API."""
        return CloudSqlAdmin(self._client, self._settings)

    @cached_property
    def backup_dr(self) -> BackupDr:
        """The Backup and DR API."""
        return BackupDr(self._client, self._settings)

    @cached_property
    def resource_manager(self) -> ResourceManager:
        """The Cloud Resource Manager API."""
        return ResourceManager(self._client.with_own_quota(), self._settings)

    @cached_property
    def inventory(self) -> CloudAssetInventory:
        """The Cloud Asset API."""
        return CloudAssetInventory(self._client.with_own_quota(), self._settings)


class GoogleApis:
    """Google's APIs with one shared client. Safe to share between threads."""

    def __init__(
        self,
        settings: CloudSql,
        timeout: timedelta,
        connections: int,
        retrying: Retrying,
        observe: Observe,
        accounts: Collection[str] = (),
    ) -> None:
        """Read the credentials; raises CredentialsError. Sends no request yet.

        `accounts` are those that targets impersonate, in place of the account of the credentials.
        """
        self._client = ApiClient(settings, timeout, connections, retrying, observe, accounts)
        self._by_account = {None: AccountApis(self._client, settings)} | {
            account: AccountApis(self._client.impersonating(account), settings) for account in accounts
        }

    def close(self) -> None:
        """Close idle connections."""
        self._client.close()

    def write_permissions(self, project: str, account: str | None = None) -> list[str]:
        """The permissions to change something in a project that an account has. Raises SourceError."""
        deadline = time.monotonic() + ADVICE_DEADLINE
        return self._by_account[account].resource_manager.permissions(project, WRITE_PERMISSIONS, deadline)

    def source(self, deadline: float, account: str | None = None) -> "GoogleSource":
        """A source that retries transient errors until `deadline`, on the monotonic clock.

        `account` is one of the impersonated accounts, or None for that of the credentials.
        """
        return GoogleSource(self._by_account[account], deadline)


class GoogleSource:
    """A `Source` and `ProjectDirectory` with a deadline for all of its requests. Every method raises SourceError."""

    def __init__(self, apis: AccountApis, deadline: float) -> None:
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

    def recovery_times(self, project: str, instance: str) -> bytes | None:
        """The recovery times of an instance; None where the API has none."""
        return self._apis.cloudsql.recovery_times(project, instance, self._deadline)

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

    def projects_in(self, parent: str) -> Iterator[str]:
        """The ids of the active projects directly in `folders/ID` or `organizations/ID`."""
        return self._apis.resource_manager.projects_in(parent, self._deadline)

    def folders_in(self, parent: str) -> Iterator[str]:
        """The resource names of the active folders directly in `folders/ID` or `organizations/ID`."""
        return self._apis.resource_manager.folders_in(parent, self._deadline)

    def projects_below(self, scope: str) -> Iterator[str]:
        """The ids of the active projects below a scope at any depth, from Cloud Asset Inventory."""
        return self._apis.inventory.projects(scope, self._deadline)

    def projects_with_instances(self, scope: str) -> Iterator[str]:
        """The ids of the projects below a scope with Cloud SQL instances, from Cloud Asset Inventory."""
        return self._apis.inventory.projects_with_instances(scope, self._deadline)
