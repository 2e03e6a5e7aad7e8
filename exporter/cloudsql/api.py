"""The Cloud SQL Admin API through Google's client library: requests in, pages of raw items out."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import google_auth_httplib2

from exporter.cloudsql.connection import Http, credentials, service
from exporter.cloudsql.refusals import FOREIGN_ERRORS, source_error
from exporter.config import CloudSql
from exporter.manners import Manners
from exporter.model import PollResult
from exporter.scan import UNNAMED_REGION, Page, SourceError

PAGE_SIZE = 1000
NEWEST_PAGE_SIZE = 100
MOST_PAGES = 1000  # a million runs
INSTANCE_FIELDS = (
    "kind,items(name,region,state,instanceType,databaseVersion,createTime,"
    "settings(activationPolicy,edition,availabilityType,userLabels,backupConfiguration)),"
    "nextPageToken,warnings"
)
RUN_FIELDS = "id,instance,type,status,windowStartTime,enqueuedTime,startTime,endTime,error,location,maxChargeableBytes"
RUNS_FIELDS = f"kind,items({RUN_FIELDS}),nextPageToken"
_KINDS = {
    "instances.list": "sql#instancesList",
    "backupRuns.list": "sql#backupRunsList",
    "backupRuns.get": "sql#backupRun",
}

Observe = Callable[[str, str, float], None]  # API method, HTTP status or result word, seconds


class CloudSqlApi:
    """Google's APIs. Safe to share between threads: each has an HTTP connection of its own."""

    def __init__(self, settings: CloudSql, timeout: timedelta, manners: Manners, observe: Observe) -> None:
        """Read the credentials; raises CredentialsError. Asks the API nothing yet."""
        self._credentials = credentials(settings.credentials, settings.quota_project)
        self._timeout = timeout.total_seconds()
        self._manners, self._observe = manners, observe
        self._local = threading.local()
        universe, endpoint = settings.universe_domain, settings.endpoint
        sql = service("sqladmin", settings.api_version, endpoint, universe)
        # Each of these takes the library half a millisecond to make: made once, and shared by all threads.
        self.instances, self.backup_runs = sql.instances(), sql.backupRuns()
        # A simulated API answers for both; nothing simulated asks Google.
        simulated = endpoint if endpoint and endpoint.startswith("http://") else None
        projects_endpoint = settings.resource_manager_endpoint or simulated
        self.projects = service("cloudresourcemanager", "v3", projects_endpoint, universe).projects()

    def until(self, deadline: float) -> "PatientApi":
        """A Source that asks again after passing trouble, as long as there is time on the monotonic clock."""
        return PatientApi(self, deadline)

    def ask(self, method: str, subject: str, request: Any, deadline: float) -> dict[str, object]:
        """The JSON object that a request is answered with. Raises SourceError."""
        return self._manners.ask(method, lambda: self._execute(method, subject, request), deadline)

    def _execute(self, method: str, subject: str, request: Any) -> dict[str, object]:
        began = time.monotonic()
        http, plain = self._http()
        plain.status, code = 0, ""
        try:
            body = request.execute(http=http, num_retries=0)
            if not isinstance(body, dict) or _is_of_another_kind(method, body):
                raise _UnexpectedBodyError(f"the body is not the JSON object asked for but {str(body)[:60]!r}")
        except FOREIGN_ERRORS as error:
            failure = source_error(method, subject, error, plain.status)
            code = "" if plain.status >= 300 else failure.result.value
            raise failure from error
        finally:
            self._observe(method, code or str(plain.status), time.monotonic() - began)
        return body

    def _http(self) -> tuple[Any, "Http"]:
        """This thread's connection, signing and plain: httplib2 may not be shared between threads."""
        if not hasattr(self._local, "http"):
            plain = Http(timeout=self._timeout)
            plain.redirect_codes = frozenset()  # the API never redirects; credentials follow nobody elsewhere
            signed = self._credentials and google_auth_httplib2.AuthorizedHttp(self._credentials, http=plain)
            self._local.http = signed or plain, plain
        connections: tuple[Any, Http] = self._local.http
        return connections


class PatientApi:
    """A `Source` that asks Google, with patience until a deadline. Every method raises SourceError."""

    def __init__(self, api: CloudSqlApi, deadline: float) -> None:
        self._api, self._deadline = api, deadline

    def instances(self, project: str) -> Iterator[Page]:
        """Every instance of a project."""
        listing = self._api.instances
        first = listing.list(project=project, maxResults=PAGE_SIZE, fields=INSTANCE_FIELDS)
        for body in self._bodies("instances.list", f"project {project}", listing.list_next, first):
            yield Page(_objects(body, "items", project), tuple(_unreachable(body, project)))

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """Every backup run of an instance, or of all of them; in short pages where only the newest are wanted."""
        listing = self._api.backup_runs
        size = NEWEST_PAGE_SIZE if newest else PAGE_SIZE
        first = listing.list(project=project, instance=instance, maxResults=size, fields=RUNS_FIELDS)
        for body in self._bodies("backupRuns.list", f"project {project}", listing.list_next, first):
            yield Page(_objects(body, "items", project))

    def backup_run(self, project: str, instance: str, run_id: str) -> object | None:
        """One backup run; None where it is gone."""
        request = self._api.backup_runs.get(project=project, instance=instance, id=run_id, fields=f"kind,{RUN_FIELDS}")
        try:
            return self._api.ask("backupRuns.get", f"project {project}", request, self._deadline)
        except SourceError as error:
            if error.result is PollResult.NOT_FOUND:
                return None
            raise

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that a Cloud Resource Manager search finds."""
        listing = self._api.projects
        first = listing.search(query=query, pageSize=PAGE_SIZE)
        for body in self._bodies("projects.search", f"search {query!r}", listing.search_next, first):
            for item in _objects(body, "projects", query):
                if isinstance(item, dict) and item.get("state", "ACTIVE") == "ACTIVE" and item.get("projectId"):
                    yield str(item["projectId"])

    def _bodies(self, method: str, subject: str, following: Any, request: Any) -> Iterator[dict[str, object]]:
        seen: set[object] = set()
        while request is not None:
            body = self._api.ask(method, subject, request, self._deadline)
            yield body
            token = body.get("nextPageToken")
            if token in seen or not isinstance(token, str | None) or len(seen) >= MOST_PAGES:
                raise SourceError(
                    PollResult.BAD_RESPONSE, f"{method} of {subject}: the listing does not come to an end"
                )
            seen.add(token)
            request = following(request, body)


class _UnexpectedBodyError(ValueError):
    """A body that is not the JSON object asked for."""


def _is_of_another_kind(method: str, body: dict[str, object]) -> bool:
    """Whether an object without items says itself that it is no empty list of what was asked for."""
    return "items" not in body and body.get("kind", _KINDS.get(method)) != _KINDS.get(method)


def _objects(body: dict[str, object], key: str, asked: str) -> list[object]:
    """The list under `key`, which the API leaves out where it is empty. Raises SourceError for anything else."""
    items = body.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise SourceError(PollResult.BAD_RESPONSE, f"{key} in an answer about {asked} is not a list")
    return items


def _unreachable(body: dict[str, object], project: str) -> Iterator[str]:
    for warning in _objects(body, "warnings", project):
        if isinstance(warning, dict) and warning.get("code") == "REGION_UNREACHABLE":
            region = warning.get("region")
            yield region if isinstance(region, str) and region.isprintable() and region else UNNAMED_REGION
