"""Cloud SQL Admin API: instances, backup runs, recovery times and backups."""

import json
from collections.abc import Iterator, Mapping
from functools import lru_cache, partial

import msgspec

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis.client import ApiClient, build_service, json_object, list_of
from exporter.scan.source import UNKNOWN_REGION, AbsentError, Page, SourceError

PAGE_SIZE = 1000
NEWEST_PAGE_SIZE = 100
CACHED_REQUESTS = 1000  # of each method, some kilobytes each
INSTANCE_FIELDS = (
    "kind,items(name,region,state,instanceType,databaseVersion,createTime,suspensionReason,outOfDiskReport,"
    "settings(activationPolicy,edition,availabilityType,userLabels,backupConfiguration,"
    "deletionProtectionEnabled,retainBackupsOnDelete,finalBackupConfig)),"
    "nextPageToken,warnings"
)
RUN_FIELDS = "id,instance,type,status,windowStartTime,enqueuedTime,startTime,endTime,error,location,maxChargeableBytes"
RECOVERY_TIMES_FIELDS = "kind,earliestRecoveryTime,latestRecoveryTime"
RUNS_FIELDS = f"kind,items({RUN_FIELDS}),nextPageToken"
BACKUPS_PAGE_SIZE = 2000
BACKUPS_FIELDS = (  # without it each backup would contain a whole instance
    "backups(name,instance,type,state,location,backupInterval,expiryTime,instanceDeletionTime,maxChargeableBytes,"
    "backupRun,instanceSettings(region,settings(userLabels,backupConfiguration(backupRetentionSettings)))),"
    "nextPageToken,warnings"
)


class _Listing(msgspec.Struct, rename="camel"):
    """The body of a response with one page of a listing."""

    kind: object = msgspec.UNSET
    items: list[msgspec.Raw] | None = None
    warnings: object = None
    next_page_token: object = None


class _BackupListing(_Listing, rename="camel"):
    """The same of a listing of backups."""

    items: list[msgspec.Raw] | None = msgspec.field(default=None, name="backups")


_DECODERS: Mapping[str, msgspec.json.Decoder[_Listing]] = {  # by the field with the items
    "items": msgspec.json.Decoder(_Listing),
    "backups": msgspec.json.Decoder(_BackupListing),
}


class CloudSqlAdmin:
    """The methods of the API that the exporter uses. Every method raises SourceError."""

    def __init__(self, client: ApiClient, settings: CloudSql) -> None:
        service = build_service("sqladmin", settings.api_version, settings.endpoint, settings.universe_domain)
        self._client = client
        # Each of these takes the library half a millisecond to make: made once, and shared by all threads.
        self._instances, self._backup_runs = service.instances(), service.backupRuns()
        self._project_instances = service.projects().instances()
        # Every poll sends the same two requests. Building one takes the library a tenth of a poll without changes.
        self._list_instances = lru_cache(CACHED_REQUESTS)(self._instances.list)
        self._list_runs = lru_cache(CACHED_REQUESTS)(self._backup_runs.list)
        # Google's library spells this resource and its methods differently in each version of the API.
        if settings.api_version == "v1":
            backups = service.Backups()
            self._list_backups, self._next_backups = backups.ListBackups, backups.ListBackups_next
        else:
            backups = service.backups()
            self._list_backups, self._next_backups = backups.listBackups, backups.listBackups_next

    def instances(self, project: str, deadline: float) -> Iterator[Page]:
        """All instances of a project."""
        request = self._list_instances(project=project, maxResults=PAGE_SIZE, fields=INSTANCE_FIELDS)
        return self._client.pages(
            "instances.list",
            f"project {project}",
            request,
            self._instances.list_next,
            deadline,
            partial(_page, project=project, kind="sql#instancesList"),
        )

    def backup_runs(self, project: str, instance: str, deadline: float, *, newest: bool = False) -> Iterator[Page]:
        """All backup runs of an instance, or of all of them; with `newest`, in short pages."""
        size = NEWEST_PAGE_SIZE if newest else PAGE_SIZE
        request = self._list_runs(project=project, instance=instance, maxResults=size, fields=RUNS_FIELDS)
        return self._client.pages(
            "backupRuns.list",
            f"project {project}",
            request,
            self._backup_runs.list_next,
            deadline,
            partial(_page, project=project, kind="sql#backupRunsList"),
        )

    def backup_run(self, project: str, instance: str, run_id: str, deadline: float) -> bytes | None:
        """One backup run, in JSON; None where it does not exist."""
        request = self._backup_runs.get(project=project, instance=instance, id=run_id, fields=f"kind,{RUN_FIELDS}")
        try:
            decode = partial(_single, kind="sql#backupRun")
            return self._client.execute("backupRuns.get", f"project {project}", request, deadline, decode)
        except SourceError as error:
            if error.result is PollResult.NOT_FOUND:
                return None
            raise

    def recovery_times(self, project: str, instance: str, deadline: float) -> bytes | None:
        """The recovery times of an instance, in JSON; None where the API has none. A request in the background.

        The API answers 400 or 404 where it has none, for example while the logs are on the disk of the instance.
        """
        request = self._project_instances.getLatestRecoveryTime(
            project=project, instance=instance, fields=RECOVERY_TIMES_FIELDS
        )
        try:
            return self._client.execute(
                "instances.getLatestRecoveryTime",
                f"project {project}",
                request,
                deadline,
                partial(_single, kind="sql#getLatestRecoveryTime"),
                background=True,
            )
        except AbsentError:
            return None

    def backups(self, project: str, deadline: float) -> Iterator[Page]:
        """All backups of a project, of instances that exist and of deleted ones."""
        parent = f"projects/{project}"
        return self._client.pages(
            "backups.list",
            f"project {project}",
            self._list_backups(parent=parent, pageSize=BACKUPS_PAGE_SIZE, fields=BACKUPS_FIELDS),
            self._next_backups,
            deadline,
            partial(_page, project=project, key="backups"),
        )


def _page(body: bytes, project: str, kind: str | None = None, key: str = "items") -> tuple[Page, object]:
    """The page in a body, and the token of the next page; `key` is the field with the items.

    An object without items is an empty list if it is not of another kind.
    """
    try:
        listing = _DECODERS[key].decode(body.decode())
    except (ValueError, RecursionError):
        listing = _tolerant_listing(body, project, key)
    if listing.items is None and listing.kind not in (msgspec.UNSET, kind):
        raise ValueError(f"its kind is {str(listing.kind)[:60]!r}")
    regions = tuple(_unreachable_regions(listing.warnings, project, complete=key == "items"))
    page = Page(list(map(bytes, listing.items or ())), regions, last=listing.next_page_token is None)
    return page, listing.next_page_token


def _tolerant_listing(body: bytes, project: str, key: str = "items") -> _Listing:
    """The listing in a body that msgspec rejects, for which half of a surrogate pair in one item is enough."""
    content = json_object(body)
    items = list_of(content.get(key), key, project)
    return _Listing(
        kind=content.get("kind", msgspec.UNSET),
        items=[msgspec.Raw(json.dumps(item).encode()) for item in items] if key in content else None,
        warnings=content.get("warnings"),
        next_page_token=content.get("nextPageToken"),
    )


def _single(body: bytes, kind: str) -> bytes:
    """The body, if it can be that of an object of a kind."""
    found = json_object(body).get("kind", kind)
    if found != kind:
        raise ValueError(f"its kind is {str(found)[:60]!r}")
    return body


def _unreachable_regions(warnings: object, project: str, *, complete: bool) -> Iterator[str]:
    """The regions that are missing from a listing.

    Unless `complete`, a warning of any other kind means that something unknown may be missing too: the API also warns
    of unknown errors.
    """
    for warning in list_of(warnings, "warnings", project):
        if isinstance(warning, dict) and warning.get("code") == "REGION_UNREACHABLE":
            region = warning.get("region")
            yield region if isinstance(region, str) and region.isprintable() and region else UNKNOWN_REGION
        elif not complete:
            yield UNKNOWN_REGION
