"""Translation of failed requests into SourceErrors that say what to do."""

import http.client
import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import google.auth.exceptions
from urllib3 import exceptions

from exporter.facts.model import PollResult
from exporter.googleapis.permissions import PERMISSIONS
from exporter.googleapis.transport import Response
from exporter.scan.source import SourceError

TRANSPORT_ERRORS = (exceptions.HTTPError, google.auth.exceptions.GoogleAuthError, OSError)
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
_SEARCHES = {"projects.search"}
_DISABLED_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}


def from_transport(method: str, subject: str, error: BaseException) -> SourceError:
    """The error for a request without a complete response."""
    if isinstance(error, google.auth.exceptions.TransportError) and error.__cause__:
        error = error.__cause__
    request, reason = f"{method} of {subject}", (str(error).splitlines() or [type(error).__name__])[0][:300]
    match error:
        case google.auth.exceptions.RefreshError():
            advice = "the credentials were rejected; renew them, or check the impersonated account"
            return SourceError(PollResult.UNAUTHENTICATED, f"{request}: {advice}: {reason}")
        case exceptions.TimeoutError() | TimeoutError() if not isinstance(error, exceptions.NewConnectionError):
            return SourceError(PollResult.TIMEOUT, f"{request}: no response in time; see poll.timeout")
        case exceptions.DecodeError() | exceptions.ProtocolError() if not _is_disconnect(error):
            return bad_response(method, subject, reason)
        case _:
            return SourceError(PollResult.UNREACHABLE, f"{request}: the API cannot be reached: {reason}")


def bad_response(method: str, subject: str, reason: str) -> SourceError:
    """The error for a response that is not the expected JSON."""
    text = f"{method} of {subject}: the response is incomplete or not the expected JSON: {reason}"
    return SourceError(PollResult.BAD_RESPONSE, text)


def _is_disconnect(error: BaseException) -> bool:
    """Whether a connection ended before the response began, or was reset."""
    causes = [cause for cause in (*error.args, error.__cause__) if isinstance(cause, BaseException)]
    return any(isinstance(cause, OSError) and not isinstance(cause, http.client.IncompleteRead) for cause in causes)


def from_response(method: str, subject: str, response: Response) -> SourceError:
    """The error for a response with another status than 200."""
    message, reasons = _parse_body(response.body)
    status, retry_after = response.status, _seconds(response.headers.get("retry-after"))
    text = f"{method} of {subject}: {status} {message.rstrip('.')}"
    project = subject.partition(" ")[2]
    if status == 429 or reasons & _QUOTA_REASONS:
        advice = "the API quota is exceeded; lower cloudsql.requests_per_minute or raise poll.interval"
        return SourceError(PollResult.QUOTA, f"{text}; {advice}", retry_after=retry_after)
    if reasons & _DISABLED_REASONS:
        of_search = "cloudresourcemanager.googleapis.com in the project of the credentials"
        of_project = f"sqladmin.googleapis.com --project={project}"
        advice = f"enable the API: gcloud services enable {of_search if method in _SEARCHES else of_project}"
        return SourceError(PollResult.API_DISABLED, f"{text}; {advice}")
    match status:
        case 401:
            return SourceError(PollResult.UNAUTHENTICATED, f"{text}; check cloudsql.credentials")
        case 403:
            permission = PERMISSIONS[method]
            advice = f"grant {permission.name} ({permission.role} has it)"
            if method not in _SEARCHES:
                advice += ", or check the project's name"
            return SourceError(
                PollResult.FORBIDDEN, f"{text}; {advice}", denied=True, missing_permission=permission.name
            )
        case 404:
            return SourceError(PollResult.NOT_FOUND, f"{text}; check the name", denied=True)
        case _ if status >= 500:
            return SourceError(PollResult.SERVER_ERROR, text, retry_after=retry_after)
        case _:
            return SourceError(PollResult.BAD_RESPONSE, text, denied=True)


def _parse_body(body: bytes) -> tuple[str, frozenset[str]]:
    """Message and reasons of an error, which may be in one of two lists, or HTML."""
    try:
        error = json.loads(body)["error"]
        entries = [*error.get("errors", ()), *error.get("details", ())]
        reasons = frozenset(str(entry["reason"]) for entry in entries if "reason" in entry)
        return " ".join(str(error.get("message", "")).split())[:300], reasons
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        text = " ".join(re.sub(r"<[^>]*>", " ", body.decode(errors="replace")).split())[:100]
        return text or "no reason given", frozenset()


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
