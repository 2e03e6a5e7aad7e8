"""Shared client of Google's APIs: signs, sends and retries requests, and follows the pages of a listing."""

import time
from collections.abc import Callable, Collection, Iterator
from copy import copy
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

from googleapiclient import discovery

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis.access_tokens import AccessTokens
from exporter.googleapis.credentials import load_credentials
from exporter.googleapis.errors import TRANSPORT_ERRORS, bad_response, from_response, from_transport, request_text
from exporter.googleapis.retry import Retrying
from exporter.googleapis.transport import Response, Transport
from exporter.scan.parse import json_value
from exporter.scan.source import SourceError

MAX_PAGES = 1000

T = TypeVar("T")
Json = dict[str, object]
Observe = Callable[[str, str, float], None]  # API method, HTTP status or result word, seconds


class ApiClient:
    """Client shared by the modules of this package, one per API. Safe to share between threads."""

    def __init__(
        self,
        settings: CloudSql,
        timeout: timedelta,
        connections: int,
        retrying: Retrying,
        observe: Observe,
        accounts: Collection[str] = (),
    ) -> None:
        """Read the credentials, and those that impersonate each account; raises CredentialsError.

        Sends no request yet.
        """
        self._transport = Transport(timeout.total_seconds(), connections)
        self._tokens_by_account = {
            account: AccessTokens(credentials, self._transport)
            for account, credentials in load_credentials(
                settings.credentials, settings.quota_project, settings.universe_domain, accounts
            ).items()
        }
        self._access_tokens = self._tokens_by_account[None]
        self._retrying, self._observe = retrying, observe
        self._background_retrying = retrying.in_background()

    def with_own_quota(self) -> "ApiClient":
        """A client for an API whose quota is another than that of polls."""
        client = copy(self)
        client._retrying = self._retrying.with_own_quota()
        return client

    def impersonating(self, account: str) -> "ApiClient":
        """A client that impersonates one of the accounts, and shares everything else with this one."""
        client = copy(self)
        client._access_tokens = self._tokens_by_account[account]
        return client

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def execute(
        self,
        method: str,
        subject: str,
        request: Any,
        deadline: float,
        decode: Callable[[bytes], T],
        *,
        background: bool = False,
    ) -> T:
        """The decoded body of the response to a request, retried until `deadline`. Raises SourceError.

        `request` is one built by Google's library. `decode` may raise ValueError or RecursionError. A request in the
        `background` uses only what others leave of the rate limit.
        """

        def send() -> T:
            body = self._send(method, subject, request)
            try:
                return decode(body)
            except (ValueError, RecursionError) as error:
                raise bad_response(method, subject, str(error)) from error

        retrying = self._background_retrying if background else self._retrying
        return retrying.call(method, send, deadline)

    def pages(
        self,
        method: str,
        subject: str,
        request: Any,
        next_request: Any,
        deadline: float,
        decode: Callable[[bytes], tuple[T, object]],
    ) -> Iterator[T]:
        """All pages of a listing. Raises SourceError, also for a listing that does not end.

        `decode` returns a page, and the token of the next page.
        """
        tokens: set[object] = set()
        while request is not None:
            page, token = self.execute(method, subject, request, deadline, decode)
            yield page
            if token in tokens or not isinstance(token, str | None) or len(tokens) >= MAX_PAGES:
                raise SourceError(PollResult.BAD_RESPONSE, f"{request_text(method, subject)}: the listing does not end")
            tokens.add(token)
            request = next_request(request, {"nextPageToken": token})

    def _send(self, method: str, subject: str, request: Any) -> bytes:
        response = self._response(method, subject, request)
        if response.status == 401 and self._access_tokens.renewable:  # expired early, or revoked
            response = self._response(method, subject, request, renew=True)
        if response.status != 200:
            raise from_response(method, subject, response)
        return response.body

    def _response(self, method: str, subject: str, request: Any, *, renew: bool = False) -> Response:
        """The response to a request, signed with a new token if `renew` is set."""
        headers = self._access_tokens.sign(request_text(method, subject), request.headers, renew=renew)
        start, code = time.monotonic(), ""
        try:
            body = request.body and request.body.encode()
            response = self._transport.send(request.method, request.uri, headers, body)
            code = str(response.status)
        except TRANSPORT_ERRORS as error:
            failure = from_transport(method, subject, error)
            code = failure.result.value
            raise failure from error
        finally:
            self._observe(method, code, time.monotonic() - start)
        return response


def loopback_endpoint(settings: CloudSql) -> str | None:
    """The endpoint of a simulated Admin API, which simulates the other APIs too: no request goes to Google."""
    return settings.endpoint if settings.endpoint and settings.endpoint.startswith("http://") else None


@cache  # one for all accounts: it is not tied to credentials
def build_service(name: str, version: str, endpoint: str | None, universe_domain: str | None) -> Any:
    """Google's client for one of its APIs, which builds requests, from the description it ships; no network access."""
    options = {"api_endpoint": endpoint, "universe_domain": universe_domain}
    return discovery.build(
        name,
        version,
        http=object(),  # never used: Transport sends the requests
        client_options={key: value for key, value in options.items() if value},
        static_discovery=True,
        cache_discovery=False,
    )


def json_object(body: bytes) -> Json:
    """The JSON object of a body. Raises ValueError."""
    content = json_value(body)
    if not isinstance(content, dict):
        raise ValueError(repr(str(content)[:60]))
    return content


def list_of(value: object, key: str, subject: str) -> list[object]:
    """The list under `key`, which the API omits if it is empty. Raises SourceError for anything else."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise SourceError(PollResult.BAD_RESPONSE, f"{key} in a response about {subject} is not a list")
    return value
