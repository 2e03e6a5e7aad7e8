"""HTTP transport: one pool of connections for all threads, on which every request ends in time."""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.util.ssl_ import create_urllib3_context


@dataclass(frozen=True, slots=True)
class Response:
    """A response with its decompressed body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def data(self) -> bytes:
        """The body, under the name that google-auth uses."""
        return self.body


class Transport:
    """Sends requests. Safe to share between threads."""

    def __init__(self, timeout: float, connections: int) -> None:
        """`timeout` is for a whole request, in seconds; up to `connections` per host are kept open."""
        self._timeout = timeout
        self._pool = _Pool(connections)

    def get(self, url: str, headers: Mapping[str, str]) -> Response:
        """Send a GET request. Raises urllib3's HTTPError or OSError."""
        return self.send("GET", url, headers)

    def send(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None, timeout: float | None = None
    ) -> Response:
        """Send a request, with a timeout that may be shorter than the usual one. Raises as `get`."""
        limit = urllib3.Timeout(total=min(timeout or self._timeout, self._timeout))
        response = self._pool.urlopen(method, url, headers=dict(headers), body=body, timeout=limit, redirect=False)
        return Response(response.status, response.headers, response.data)

    def close(self) -> None:
        """Close all idle connections; those in use are closed after their response."""
        self._pool.clear()


class _Pool(urllib3.PoolManager):
    """Pool of connections with a deadline, through the proxies that the environment names."""

    def __init__(self, connections: int) -> None:
        self._options: dict[str, Any] = {
            "maxsize": connections,
            "retries": False,  # googleapis/retry.py retries
            "ssl_context": _ssl_context(),
        }
        super().__init__(**self._options)
        self.pool_classes_by_scheme = _POOL_CLASSES
        self._proxy_urls = getproxies()
        self._proxies: dict[str, urllib3.ProxyManager] = {}

    def urlopen(self, method: str, url: str, redirect: bool = True, **options: Any) -> Any:  # type: ignore[override] # as PoolManager
        """As the base class, through a proxy where the environment has one for the URL."""
        parts = urlsplit(url)
        proxy = self._proxy_urls.get(parts.scheme)
        if not proxy or proxy_bypass(parts.netloc):
            return super().urlopen(method, url, redirect=redirect, **options)
        if proxy not in self._proxies:
            manager = urllib3.ProxyManager(proxy, **self._options)
            manager.pool_classes_by_scheme = _POOL_CLASSES
            self._proxies[proxy] = manager
        return self._proxies[proxy].urlopen(method, url, redirect=redirect, **options)

    def clear(self) -> None:
        """Close all idle connections."""
        super().clear()
        for proxy in self._proxies.values():
            proxy.clear()


def _ssl_context() -> ssl.SSLContext:
    """Trusts the authorities of certifi, of the system, and of the environment's SSL_CERT_FILE."""
    context = create_urllib3_context()
    context.load_default_certs()
    context.load_verify_locations(certifi.where())
    return context


class _DeadlineMixin:
    """Applies the timeout of a connection to the whole response; the socket's own applies between two bytes."""

    timeout: float

    def getresponse(self) -> Any:
        deadline = time.monotonic() + self.timeout  # what connecting has left of the total timeout
        self.response_class = partial(_DeadlineResponse, deadline=deadline)
        return super().getresponse()  # type: ignore[misc] # of the class it is mixed into


class _HttpConnection(_DeadlineMixin, HTTPConnection):  # type: ignore[misc] # timeout is a number here
    pass


class _HttpsConnection(_DeadlineMixin, HTTPSConnection):  # type: ignore[misc] # likewise
    pass


class _HttpPool(HTTPConnectionPool):
    ConnectionCls = _HttpConnection  # type: ignore[assignment] # declared as a protocol


class _HttpsPool(HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection  # type: ignore[assignment] # likewise


_POOL_CLASSES = {"http": _HttpPool, "https": _HttpsPool}


class _DeadlineResponse(http.client.HTTPResponse):
    """A response that is read, headers included, until a deadline."""

    def __init__(self, sock: socket.socket, *args: Any, deadline: float, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, deadline))


class _DeadlineReader(io.RawIOBase):
    """Reads from a socket until a deadline; then raises TimeoutError."""

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline: float) -> None:
        self._raw, self._sock, self._deadline = raw, sock, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> Any:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("the response took too long")
        self._sock.settimeout(remaining)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()
