"""HTTP transport: connections on which every request ends in time."""

import contextlib
import http.client
import json
import socket
import threading
from typing import Any

import httplib2
from googleapiclient import discovery, model


def build_service(name: str, version: str, endpoint: str | None, universe_domain: str | None) -> Any:
    """Google's client for one of its APIs, built from the description it ships, without network access."""
    options = {"api_endpoint": endpoint, "universe_domain": universe_domain}
    return discovery.build(
        name,
        version,
        http=httplib2.Http(),  # never used: each request is given the connection of its thread
        model=_JsonModel(False),
        client_options={key: value for key, value in options.items() if value},
        static_discovery=True,
        cache_discovery=False,
    )


class _SocketKeepingMixin:
    """Keeps a reference to the socket, which http.client drops before the body is read."""

    connected: socket.socket | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # of the class it is mixed into
        self.connected = self.sock  # type: ignore[attr-defined] # likewise


class _HttpConnection(_SocketKeepingMixin, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """An http connection."""


class HttpsConnection(_SocketKeepingMixin, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """An https connection."""


class Http(httplib2.Http):  # type: ignore[misc] # an untyped base
    """HTTP client with a limit for the whole request. Remembers its status, which the library drops on odd bodies."""

    status = 0

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        """Same as the library's. Raises TimeoutError if the whole request takes longer than `timeout`."""
        kwargs["connection_type"] = HttpsConnection if uri.startswith("https:") else _HttpConnection
        ended = threading.Event()
        self._aborted = False
        threading.Thread(target=self._watch, args=(ended,), name="request-watch", daemon=True).start()
        try:
            response, content = super().request(uri, *args, **kwargs)
        except (OSError, http.client.HTTPException, httplib2.HttpLib2Error) as error:
            if self._aborted:
                raise TimeoutError("the response took too long") from error
            raise
        finally:
            ended.set()
        if self._aborted:  # a body that ends with its connection ended here
            raise TimeoutError("the response took too long")
        self.status = response.status
        return response, content

    def _watch(self, ended: threading.Event) -> None:
        """Abort the request from another thread: the socket's own timeout applies between two bytes.

        Repeatedly, since the library itself retries on a new connection.
        """
        while not ended.wait(self.timeout):
            self._aborted = True
            for connection in list(self.connections.values()):
                if connection.connected is not None:
                    with contextlib.suppress(OSError):
                        connection.connected.shutdown(socket.SHUT_RDWR)


class _JsonModel(model.JsonModel):  # type: ignore[misc] # an untyped base
    """JSON with numbers of any length: very long ones become text, and are rejected by the parser of their field."""

    def deserialize(self, content: bytes) -> Any:
        return json.loads(content, parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)

    @property
    def no_content_response(self) -> None:
        """204 is not a response to a query."""
        return None
