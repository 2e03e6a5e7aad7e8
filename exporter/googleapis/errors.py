"""Translation of failed requests into SourceErrors that say what to do."""

import http.client
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from urllib3 import exceptions

from exporter.facts.model import PollResult
from exporter.googleapis.permissions import BACKUP_DR_METHODS, PERMISSIONS, UNRESTRICTED_METHODS
from exporter.googleapis.transport import Response
from exporter.scan.source import AbsentError, SourceError

TRANSPORT_ERRORS = (exceptions.HTTPError, OSError)
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
_SEARCHES = {"projects.search", "folders.search", "searchAllResources"}
_APIS_OF_CREDENTIALS = {  # enabled in the project of the credentials, not in the project that is read
    "projects.search": "cloudresourcemanager.googleapis.com",
    "folders.search": "cloudresourcemanager.googleapis.com",
    "projects.testIamPermissions": "cloudresourcemanager.googleapis.com",
    "searchAllResources": "cloudasset.googleapis.com",
}
DISABLED_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}


def request_text(method: str, subject: str) -> str:
    """A request in words: its method, and what it is about, of which the name of a project is quoted."""
    kind, _, name = subject.partition(" ")
    return f"{method} of {kind} {name!r}" if kind == "project" else f"{method} of {subject}"


def from_transport(method: str, subject: str, error: BaseException) -> SourceError:
    """The error for a request without a complete response."""
    request = request_text(method, subject)
    if _is_timeout(error):
        return SourceError(PollResult.TIMEOUT, f"{request}: no response in time; see poll.timeout")
    if isinstance(error, exceptions.DecodeError | exceptions.ProtocolError) and not _is_disconnect(error):
        return bad_response(method, subject, _first_line(error))
    return SourceError(PollResult.UNREACHABLE, f"{request}: the API cannot be reached: {_first_line(error)}")


def failure_reason(error: BaseException) -> str:
    """Why a request has no complete response, in words that follow the name of a host."""
    if _is_timeout(error):
        return "did not respond in time"
    return f"cannot be reached: {_first_line(error)}"


def _is_timeout(error: BaseException) -> bool:
    return isinstance(error, exceptions.TimeoutError | TimeoutError) and not isinstance(
        error, exceptions.NewConnectionError
    )


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


def bad_response(method: str, subject: str, reason: str) -> SourceError:
    """The error for a response that is not the expected JSON."""
    text = f"{request_text(method, subject)}: the response is incomplete or not the expected JSON: {reason}"
    return SourceError(PollResult.BAD_RESPONSE, text)


def _is_disconnect(error: BaseException) -> bool:
    """Whether a connection ended before the response began, or was reset."""
    causes = [cause for cause in (*error.args, error.__cause__) if isinstance(cause, BaseException)]
    return any(isinstance(cause, OSError) and not isinstance(cause, http.client.IncompleteRead) for cause in causes)


def from_response(method: str, subject: str, response: Response) -> SourceError:
    """The error for a response with another status than 200."""
    message, reasons = parse_body(response.body)
    status, retry_after = response.status, retry_after_seconds(response.headers)
    text = f"{request_text(method, subject)}: {status} {message.rstrip('.')}"
    project = subject.partition(" ")[2]
    if status == 429 or reasons & _QUOTA_REASONS:
        interval = "refresh of the target" if method in _SEARCHES else "poll.interval"
        advice = f"the API quota is exceeded; lower cloudsql.requests_per_minute or raise {interval}"
        return SourceError(PollResult.QUOTA, f"{text}; {advice}", retry_after=retry_after)
    if reasons & DISABLED_REASONS:
        advice = f"enable the API: gcloud services enable {_disabled_api(method, project)}"
        return SourceError(PollResult.API_DISABLED, f"{text}; {advice}")
    match status:
        case 401:
            return SourceError(PollResult.UNAUTHENTICATED, f"{text}; check cloudsql.credentials")
        case 403 if method in UNRESTRICTED_METHODS:
            return SourceError(PollResult.FORBIDDEN, text, denied=True)
        case 403:
            permission = PERMISSIONS[method]
            advice = f"grant {permission.name} ({permission.role} has it)"
            if method not in _SEARCHES:
                advice += ", or check the project's name"
            return SourceError(
                PollResult.FORBIDDEN, f"{text}; {advice}", denied=True, missing_permission=permission.name
            )
        case 404:
            kind = AbsentError if _is_api_error(response.body) else SourceError
            return kind(PollResult.NOT_FOUND, f"{text}; check the name", denied=True)
        case _ if status >= 500:
            return SourceError(PollResult.SERVER_ERROR, text, retry_after=retry_after)
        case _:
            kind = AbsentError if status == 400 and _is_api_error(response.body) else SourceError
            return kind(PollResult.BAD_RESPONSE, text, denied=True)


def _is_api_error(body: bytes) -> bool:
    """Whether a body is an error of the API itself; one of a proxy or of an unknown path is HTML."""
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(content, dict) and isinstance(content.get("error"), dict)


def _disabled_api(method: str, project: str) -> str:
    """The API of a method, and where to enable it."""
    if method in _APIS_OF_CREDENTIALS:
        return f"{_APIS_OF_CREDENTIALS[method]} in the project of the credentials"
    if method in BACKUP_DR_METHODS:
        return f"backupdr.googleapis.com --project={project}, and grant {PERMISSIONS[method].role} there"
    return f"sqladmin.googleapis.com --project={project}"


def parse_body(body: bytes) -> tuple[str, frozenset[str]]:
    """Message and reasons of an error, which may be in one of two lists, that of OAuth, text or HTML."""
    try:
        content = json.loads(body)
        error = content["error"]
        if isinstance(error, str):  # OAuth
            description = content.get("error_description")
            return _shortened(f"{error}: {description}" if description else error), frozenset()
        entries = [*error.get("errors", ()), *error.get("details", ())]
        reasons = frozenset(str(entry["reason"]) for entry in entries if "reason" in entry)
        return _shortened(str(error.get("message", ""))), reasons
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = _shortened(re.sub(r"<[^>]*>", " ", body.decode(errors="replace")))
        return text or "no reason given", frozenset()


def _shortened(text: str) -> str:
    return " ".join(text.split())[:300]


def retry_after_seconds(headers: Mapping[str, str]) -> float | None:
    """The delay in a Retry-After header, which is a number of seconds or a date."""
    header = headers.get("retry-after")
    if header is None:
        return None
    if header.isdecimal():
        return float(header[:9])
    try:
        return max((parsedate_to_datetime(header) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError):
        return None
