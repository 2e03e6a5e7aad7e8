"""The Cloud SQL Admin API through Google's client library: pages of raw items out, foreign errors in our few words.

The only module that knows Google's libraries. What the API does, and the traps of its client, are in docs/api.md.
"""

import contextlib
import http.client
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

import google.auth
import google.auth.exceptions
import google_auth_httplib2
import httplib2
from google.auth import impersonated_credentials
from google.oauth2 import service_account
from googleapiclient import discovery, errors, model

from exporter.config import CloudSql, Credentials
from exporter.manners import Manners
from exporter.model import PollResult
from exporter.scan import UNNAMED_REGION, Page, SourceError

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)  # there is no read-only scope; IAM narrows it
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
PERMISSIONS = {method: f"cloudsql.{method}" for method in ("instances.list", "backupRuns.list", "backupRuns.get")}
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
_KINDS = {
    "instances.list": "sql#instancesList",
    "backupRuns.list": "sql#backupRunsList",
    "backupRuns.get": "sql#backupRun",
}
_SEARCHES = {"projects.search"}
_DISABLED_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}

Observe = Callable[[str, str, float], None]  # API method, HTTP status or result word, seconds


class CredentialsError(Exception):
    """No usable credentials; says what to do."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A failed request, in the API's own words."""

    status: int
    message: str
    reasons: frozenset[str]
    retry_after: float | None


class CloudSqlApi:
    """Google's APIs. Safe to share between threads: each has an HTTP connection of its own."""

    def __init__(self, settings: CloudSql, timeout: timedelta, manners: Manners, observe: Observe) -> None:
        """Read the credentials; raises CredentialsError. Asks the API nothing yet."""
        self._credentials = _credentials(settings.credentials, settings.quota_project)
        self._timeout = timeout.total_seconds()
        self._manners, self._observe = manners, observe
        self._local = threading.local()
        universe, endpoint = settings.universe_domain, settings.endpoint
        self.sql = _service("sqladmin", settings.api_version, endpoint, universe)
        # A simulated API answers for both; nothing simulated asks Google.
        simulated = endpoint if endpoint and endpoint.startswith("http://") else None
        projects_endpoint = settings.resource_manager_endpoint or simulated
        self.resource_manager = _service("cloudresourcemanager", "v3", projects_endpoint, universe)

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
        except _FOREIGN_ERRORS as error:
            failure = _source_error(method, subject, error, plain.status)
            code = "" if plain.status >= 300 else failure.result.value
            raise failure from error
        finally:
            self._observe(method, code or str(plain.status), time.monotonic() - began)
        return body

    def _http(self) -> tuple[Any, "_Http"]:
        """This thread's connection, signing and plain: httplib2 may not be shared between threads."""
        if not hasattr(self._local, "http"):
            plain = _Http(timeout=self._timeout)
            plain.redirect_codes = frozenset()  # the API never redirects; credentials follow nobody elsewhere
            signed = self._credentials and google_auth_httplib2.AuthorizedHttp(self._credentials, http=plain)
            self._local.http = signed or plain, plain
        connections: tuple[Any, _Http] = self._local.http
        return connections


class PatientApi:
    """A `Source` that asks Google, with patience until a deadline. Every method raises SourceError."""

    def __init__(self, api: CloudSqlApi, deadline: float) -> None:
        self._api, self._deadline = api, deadline

    def instances(self, project: str) -> Iterator[Page]:
        """Every instance of a project."""
        listing = self._api.sql.instances()
        first = listing.list(project=project, maxResults=PAGE_SIZE, fields=INSTANCE_FIELDS)
        for body in self._bodies("instances.list", f"project {project}", listing.list_next, first):
            yield Page(_objects(body, "items", project), tuple(_unreachable(body, project)))

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        """Every backup run of an instance, or of all of them; in short pages where only the newest are wanted."""
        listing = self._api.sql.backupRuns()
        size = NEWEST_PAGE_SIZE if newest else PAGE_SIZE
        first = listing.list(project=project, instance=instance, maxResults=size, fields=RUNS_FIELDS)
        for body in self._bodies("backupRuns.list", f"project {project}", listing.list_next, first):
            yield Page(_objects(body, "items", project))

    def backup_run(self, project: str, instance: str, run_id: str) -> object | None:
        """One backup run; None where it is gone."""
        request = self._api.sql.backupRuns().get(
            project=project, instance=instance, id=run_id, fields=f"kind,{RUN_FIELDS}"
        )
        try:
            return self._api.ask("backupRuns.get", f"project {project}", request, self._deadline)
        except SourceError as error:
            if error.result is PollResult.NOT_FOUND:
                return None
            raise

    def projects(self, query: str) -> Iterator[str]:
        """The ids of the active projects that a Cloud Resource Manager search finds."""
        listing = self._api.resource_manager.projects()
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


class _Keeping:
    """A connection that keeps hold of its socket, which http.client lets go of before the body is read."""

    connected: socket.socket | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # of the class it is mixed into
        self.connected = self.sock  # type: ignore[attr-defined] # likewise


class _Plain(_Keeping, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """Over http."""


class _Https(_Keeping, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """Over https."""


class _Http(httplib2.Http):  # type: ignore[misc] # an untyped base
    """Ends each request in time, and remembers its status: the library forgets it over an odd error body."""

    status = 0

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        """As the library's, but a TimeoutError where the whole of it takes longer than `timeout`."""
        kwargs["connection_type"] = _Https if uri.startswith("https:") else _Plain
        timer = threading.Timer(self.timeout, self._abort)
        timer.daemon = True
        timer.start()
        self._aborted = False
        try:
            response, content = super().request(uri, *args, **kwargs)
        except (OSError, http.client.HTTPException, httplib2.HttpLib2Error) as error:
            if self._aborted:
                raise TimeoutError("the answer took too long") from error
            raise
        finally:
            timer.cancel()
        if self._aborted:  # a body that ends with its connection ended here
            raise TimeoutError("the answer took too long")
        self.status = response.status
        return response, content

    def _abort(self) -> None:
        """End the request under way, from another thread: the socket's own timeout is one between two bytes."""
        self._aborted = True
        for connection in list(self.connections.values()):
            if connection.connected is not None:
                with contextlib.suppress(OSError):
                    connection.connected.shutdown(socket.SHUT_RDWR)


class _UnexpectedBodyError(ValueError):
    """A body that is not the JSON object asked for."""


class _Json(model.JsonModel):  # type: ignore[misc] # an untyped base
    """JSON whose every number can be read: one of absurd length becomes text, and is refused where it stands."""

    def deserialize(self, content: bytes) -> Any:
        return json.loads(content, parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)

    @property
    def no_content_response(self) -> None:
        """204 is no answer to a question."""
        return None


_FOREIGN_ERRORS = (
    errors.Error,
    google.auth.exceptions.GoogleAuthError,
    httplib2.HttpLib2Error,
    http.client.HTTPException,
    OSError,  # refused, reset, timed out
    ValueError,  # a body that is not JSON
    RecursionError,  # JSON of absurd depth
    AttributeError,  # an error body of odd shape, on which the library trips
    TypeError,
    LookupError,
)


def _service(name: str, version: str, endpoint: str | None, universe: str | None) -> Any:
    options = {"api_endpoint": endpoint, "universe_domain": universe}
    return discovery.build(
        name,
        version,
        http=httplib2.Http(),  # never used: each request is given the connection of its thread
        model=_Json(False),
        client_options={key: value for key, value in options.items() if value},
        static_discovery=True,
        cache_discovery=False,
    )


def _credentials(wanted: Credentials, quota_project: str | None) -> Any:
    """Signing credentials, or None for anonymous requests."""
    try:
        match wanted.kind:
            case "anonymous":
                return None
            case "file":
                found: Any = service_account.Credentials.from_service_account_file(str(wanted.file), scopes=SCOPES)
            case "adc" | "impersonate":
                found, _ = google.auth.default(scopes=SCOPES)
        if wanted.impersonate:
            found = impersonated_credentials.Credentials(
                source_credentials=found,
                target_principal=wanted.impersonate,
                target_scopes=list(SCOPES),
                lifetime=round(wanted.lifetime.total_seconds()),
            )
        return found.with_quota_project(quota_project) if quota_project else found
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, AttributeError, TypeError) as error:
        raise CredentialsError(_credentials_advice(wanted, error)) from error


def _credentials_advice(wanted: Credentials, error: Exception) -> str:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if wanted.kind == "file":
        return f"credentials file {wanted.file} cannot be used: {said}; check cloudsql.credentials.file"
    return (
        "no application default credentials were found; run `gcloud auth application-default login`, attach a "
        "service account to this workload, or set cloudsql.credentials to {file: key.json}"
    )


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


def _source_error(method: str, subject: str, error: BaseException, status: int) -> SourceError:
    """Put a foreign error in our words, with what to do about it; `status` is 0 where there was no HTTP answer."""
    asked, said = f"{method} of {subject}", (str(error).splitlines() or [type(error).__name__])[0][:300]
    unreachable = SourceError(PollResult.UNREACHABLE, f"{asked}: the API cannot be reached: {said}")
    match error:
        case errors.HttpError():
            return _refusal(method, subject, _answer(error))
        case _ if status >= 300:
            return _refusal(method, subject, _Answer(status, "no reason that could be read", frozenset(), None))
        case google.auth.exceptions.RefreshError():
            advice = "the credentials were refused; renew them, or check the impersonated account"
            return SourceError(PollResult.UNAUTHENTICATED, f"{asked}: {advice}: {said}")
        case TimeoutError():
            return SourceError(PollResult.TIMEOUT, f"{asked}: no answer in time; see poll.timeout")
        case ConnectionError():  # before HTTPException: a connection closed without an answer is both
            return unreachable
        case google.auth.exceptions.GoogleAuthError() | httplib2.ServerNotFoundError() | OSError():
            return unreachable
        case _:
            return SourceError(
                PollResult.BAD_RESPONSE, f"{asked}: the answer was cut short or is not the JSON asked for: {said}"
            )


def _refusal(method: str, subject: str, answer: _Answer) -> SourceError:
    said = f"{method} of {subject}: {answer.status} {answer.message.rstrip('.')}"
    project = subject.partition(" ")[2]
    if answer.status == 429 or answer.reasons & _QUOTA_REASONS:
        advice = "the API's quota is used up; lower cloudsql.requests_per_minute or raise poll.interval"
        return SourceError(PollResult.QUOTA, f"{said}; {advice}", retry_after=answer.retry_after)
    if answer.reasons & _DISABLED_REASONS:
        of_search = "cloudresourcemanager.googleapis.com in the project of the credentials"
        of_project = f"sqladmin.googleapis.com --project={project}"
        advice = f"enable the API: gcloud services enable {of_search if method in _SEARCHES else of_project}"
        return SourceError(PollResult.API_DISABLED, f"{said}; {advice}")
    match answer.status:
        case 401:
            return SourceError(PollResult.UNAUTHENTICATED, f"{said}; check cloudsql.credentials")
        case 403:
            permission = PERMISSIONS.get(method, "resourcemanager.projects.get")
            advice = f"grant {permission} (roles/{'browser' if method in _SEARCHES else 'cloudsql.viewer'} has it)"
            if method not in _SEARCHES:
                advice += ", or check the project's name"
            return SourceError(PollResult.FORBIDDEN, f"{said}; {advice}", refused=True)
        case 404:
            return SourceError(PollResult.NOT_FOUND, f"{said}; check the name", refused=True)
        case status if status >= 500:
            return SourceError(PollResult.SERVER_ERROR, said, retry_after=answer.retry_after)
        case _:
            return SourceError(PollResult.BAD_RESPONSE, said, refused=True)


def _answer(error: errors.HttpError) -> _Answer:
    """Read the body ourselves: the library prefers one of two lists of reasons, and either may hold the word."""
    retry_after = _seconds(error.resp.get("retry-after"))
    try:
        body = json.loads(error.content)["error"]
        lists = [*body.get("errors", ()), *body.get("details", ())]
        reasons = frozenset(str(entry["reason"]) for entry in lists if "reason" in entry)
        message = " ".join(str(body.get("message", "")).split())[:300]
        return _Answer(error.status_code, message, reasons, retry_after)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = " ".join(re.sub(r"<[^>]*>", " ", error.content.decode(errors="replace")).split())[:100]
        return _Answer(error.status_code, text or "no reason given", frozenset(), retry_after)


def _seconds(header: str | None) -> float | None:
    """What a Retry-After header asks for; it is a number of seconds or a date."""
    if header is None:
        return None
    if header.isdecimal():
        return float(header[:9])
    try:
        return max((parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
