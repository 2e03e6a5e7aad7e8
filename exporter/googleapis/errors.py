"""Translation of errors of Google's APIs and libraries into SourceErrors that say what to do."""

import http.client
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import google.auth.exceptions
import httplib2
from googleapiclient import errors

from exporter.facts.model import PollResult
from exporter.scan.source import SourceError

PERMISSIONS = {method: f"cloudsql.{method}" for method in ("instances.list", "backupRuns.list", "backupRuns.get")}
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
_SEARCHES = {"projects.search"}
_DISABLED_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}

CLIENT_LIBRARY_ERRORS = (
    errors.Error,
    google.auth.exceptions.GoogleAuthError,
    httplib2.HttpLib2Error,
    http.client.HTTPException,
    OSError,  # connection refused, reset, timed out
    ValueError,  # a body that is not JSON
    RecursionError,  # JSON of absurd depth
    AttributeError,  # an error body of an unexpected shape, which the library does not handle
    TypeError,
    LookupError,
)


@dataclass(frozen=True, slots=True)
class _HttpError:
    """Response to a failed request."""

    status: int
    message: str
    reasons: frozenset[str]
    retry_after: float | None


def translate(method: str, subject: str, error: BaseException, status: int) -> SourceError:
    """The SourceError for an error of a library; `status` is 0 where there was no HTTP response."""
    request, reason = f"{method} of {subject}", (str(error).splitlines() or [type(error).__name__])[0][:300]
    unreachable = SourceError(PollResult.UNREACHABLE, f"{request}: the API cannot be reached: {reason}")
    match error:
        case errors.HttpError():
            return _from_http(method, subject, _parse_body(error))
        case _ if status >= 300:
            return _from_http(method, subject, _HttpError(status, "no readable reason", frozenset(), None))
        case google.auth.exceptions.RefreshError():
            advice = "the credentials were rejected; renew them, or check the impersonated account"
            return SourceError(PollResult.UNAUTHENTICATED, f"{request}: {advice}: {reason}")
        case TimeoutError():
            return SourceError(PollResult.TIMEOUT, f"{request}: no response in time; see poll.timeout")
        case ConnectionError():  # before HTTPException: a connection closed without a response is both
            return unreachable
        case google.auth.exceptions.GoogleAuthError() | httplib2.ServerNotFoundError() | OSError():
            return unreachable
        case _:
            return SourceError(
                PollResult.BAD_RESPONSE, f"{request}: the response is incomplete or not the expected JSON: {reason}"
            )


def _from_http(method: str, subject: str, response: _HttpError) -> SourceError:
    reason = f"{method} of {subject}: {response.status} {response.message.rstrip('.')}"
    project = subject.partition(" ")[2]
    if response.status == 429 or response.reasons & _QUOTA_REASONS:
        advice = "the API quota is exceeded; lower cloudsql.requests_per_minute or raise poll.interval"
        return SourceError(PollResult.QUOTA, f"{reason}; {advice}", retry_after=response.retry_after)
    if response.reasons & _DISABLED_REASONS:
        of_search = "cloudresourcemanager.googleapis.com in the project of the credentials"
        of_project = f"sqladmin.googleapis.com --project={project}"
        advice = f"enable the API: gcloud services enable {of_search if method in _SEARCHES else of_project}"
        return SourceError(PollResult.API_DISABLED, f"{reason}; {advice}")
    match response.status:
        case 401:
            return SourceError(PollResult.UNAUTHENTICATED, f"{reason}; check cloudsql.credentials")
        case 403:
            permission = PERMISSIONS.get(method, "resourcemanager.projects.get")
            advice = f"grant {permission} (roles/{'browser' if method in _SEARCHES else 'cloudsql.viewer'} has it)"
            if method not in _SEARCHES:
                advice += ", or check the project's name"
            return SourceError(PollResult.FORBIDDEN, f"{reason}; {advice}", denied=True)
        case 404:
            return SourceError(PollResult.NOT_FOUND, f"{reason}; check the name", denied=True)
        case status if status >= 500:
            return SourceError(PollResult.SERVER_ERROR, reason, retry_after=response.retry_after)
        case _:
            return SourceError(PollResult.BAD_RESPONSE, reason, denied=True)


def _parse_body(error: errors.HttpError) -> _HttpError:
    """Parse the body here: the library reads only one of two lists of reasons, and the reason may be in the other."""
    retry_after = _seconds(error.resp.get("retry-after"))
    try:
        body = json.loads(error.content)["error"]
        lists = [*body.get("errors", ()), *body.get("details", ())]
        reasons = frozenset(str(entry["reason"]) for entry in lists if "reason" in entry)
        message = " ".join(str(body.get("message", "")).split())[:300]
        return _HttpError(error.status_code, message, reasons, retry_after)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = " ".join(re.sub(r"<[^>]*>", " ", error.content.decode(errors="replace")).split())[:100]
        return _HttpError(error.status_code, text or "no reason given", frozenset(), retry_after)


def _seconds(header: str | None) -> float | None:
    """The delay in a Retry-After header, which is a number of seconds or a date."""
    if header is None:
        return None
    if header.isdecimal():
        return float(header[:9])
    try:
        return max((parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
