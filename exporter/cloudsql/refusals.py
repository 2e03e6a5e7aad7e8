"""Foreign errors in our few words, each with what to do about it."""

import http.client
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import google.auth.exceptions
import httplib2
from googleapiclient import errors

from exporter.model import PollResult
from exporter.scan import SourceError

PERMISSIONS = {method: f"cloudsql.{method}" for method in ("instances.list", "backupRuns.list", "backupRuns.get")}
_QUOTA_REASONS = {"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded", "RATE_LIMIT_EXCEEDED"}
_SEARCHES = {"projects.search"}
_DISABLED_REASONS = {"accessNotConfigured", "SERVICE_DISABLED"}

FOREIGN_ERRORS = (
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


@dataclass(frozen=True, slots=True)
class _Answer:
    """A failed request, in the API's own words."""

    status: int
    message: str
    reasons: frozenset[str]
    retry_after: float | None


def source_error(method: str, subject: str, error: BaseException, status: int) -> SourceError:
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
