"""Shared client of Google's APIs: signs, sends and retries requests, and follows the pages of a listing."""

import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import google_auth_httplib2

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis.credentials import load_credentials
from exporter.googleapis.errors import CLIENT_LIBRARY_ERRORS, translate
from exporter.googleapis.retry import Retrying
from exporter.googleapis.transport import Http
from exporter.scan.source import SourceError

MAX_PAGES = 1000

Json = dict[str, object]
Observe = Callable[[str, str, float], None]  # API method, HTTP status or result word, seconds


class ApiClient:
    """Client shared by the modules of this package, one per API. Safe to share between threads."""

    def __init__(self, settings: CloudSql, timeout: timedelta, retrying: Retrying, observe: Observe) -> None:
        """Read the credentials; raises CredentialsError. Sends no request yet."""
        self._credentials = load_credentials(settings.credentials, settings.quota_project)
        self._timeout = timeout.total_seconds()
        self._retrying, self._observe = retrying, observe
        self._local = threading.local()

    def execute(self, method: str, subject: str, request: Any, deadline: float, kind: str | None = None) -> Json:
        """The JSON object in the response to a request, retried until `deadline`. Raises SourceError.

        `kind` is the response's `kind` field by which an empty object is known to be an empty list.
        """
        return self._retrying.call(method, lambda: self._execute(method, subject, request, kind), deadline)

    def pages(
        self, method: str, subject: str, request: Any, next_request: Any, deadline: float, kind: str | None = None
    ) -> Iterator[Json]:
        """The responses with all pages of a listing. Raises SourceError, also for a listing that does not end."""
        tokens: set[object] = set()
        while request is not None:
            body = self.execute(method, subject, request, deadline, kind)
            yield body
            token = body.get("nextPageToken")
            if token in tokens or not isinstance(token, str | None) or len(tokens) >= MAX_PAGES:
                raise SourceError(PollResult.BAD_RESPONSE, f"{method} of {subject}: the listing does not end")
            tokens.add(token)
            request = next_request(request, body)

    def _execute(self, method: str, subject: str, request: Any, kind: str | None) -> Json:
        start = time.monotonic()
        http, unsigned = self._http()
        unsigned.status, code = 0, ""
        try:
            body = request.execute(http=http, num_retries=0)
            if not isinstance(body, dict) or _is_of_another_kind(body, kind):
                raise _UnexpectedBodyError(f"the body is not the requested JSON object but {str(body)[:60]!r}")
        except CLIENT_LIBRARY_ERRORS as error:
            failure = translate(method, subject, error, unsigned.status)
            code = "" if unsigned.status >= 300 else failure.result.value
            raise failure from error
        finally:
            self._observe(method, code or str(unsigned.status), time.monotonic() - start)
        return body

    def _http(self) -> tuple[Any, Http]:
        """This thread's connection, signing and not: httplib2 may not be shared between threads."""
        if not hasattr(self._local, "http"):
            unsigned = Http(timeout=self._timeout)
            unsigned.redirect_codes = frozenset()  # the API never redirects, and credentials go nowhere else
            signed = self._credentials and google_auth_httplib2.AuthorizedHttp(self._credentials, http=unsigned)
            self._local.http = signed or unsigned, unsigned
        connections: tuple[Any, Http] = self._local.http
        return connections


class _UnexpectedBodyError(ValueError):
    """A body that is not the requested JSON object."""


def _is_of_another_kind(body: Json, kind: str | None) -> bool:
    """Whether an object without items says itself that it is not an empty list of what was requested."""
    return "items" not in body and body.get("kind", kind) != kind


def items_of(body: Json, key: str, subject: str) -> list[object]:
    """The list under `key`, which the API omits if it is empty. Raises SourceError for anything else."""
    items = body.get(key)
    if items is None:
        return []
    if not isinstance(items, list):
        raise SourceError(PollResult.BAD_RESPONSE, f"{key} in a response about {subject} is not a list")
    return items
