"""The HTTP server, in a thread of its own: signals and polls stay in others."""

import errno
import logging
import socket
import threading
from collections.abc import Sequence

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from exporter.errors import UserError

log = logging.getLogger(__name__)

GRACE_PERIOD = 0.8  # seconds for responses in progress at the end
MAX_HEADER_SIZE = 1 << 16  # bytes


class ListenError(UserError):
    """Cannot listen on an address; says why and what to do."""


class HttpProtocol(HttpToolsProtocol):
    """HTTP by httptools, with a limit on the size of request headers, which httptools does not have."""

    _header_size = 0

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; close the connection if the headers are too large."""
        self._header_size += len(data)
        super().data_received(data)
        if self._header_size > MAX_HEADER_SIZE and not self.transport.is_closing():
            self.send_400_response("Request headers are too large.")

    def on_headers_complete(self) -> None:
        """Start the response."""
        self._header_size = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the request's body."""
        self._header_size = 0
        super().on_body(body)


class WebServer:
    """Serves an application on one or more addresses."""

    def __init__(self, app: ASGIApp, addresses: Sequence[str]) -> None:
        """Listen on every address, `HOST:PORT`; without a host, on all interfaces. Raises ListenError."""
        self._sockets = [_listening(address) for address in addresses]
        for listener in self._sockets:  # accepted connections inherit this; asyncio sets it on some sockets only
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http=HttpProtocol,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=(self._sockets,), name="web", daemon=True)

    @property
    def urls(self) -> list[str]:
        """One URL per address."""
        return [_url(listener) for listener in self._sockets]

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; responses in progress get a short time to end."""
        self._server.should_exit = True
        self._thread.join(GRACE_PERIOD)


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `HOST:PORT`; an empty host means every interface. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address!r} is not a valid listen address; write HOST:PORT, or :PORT for every interface")
    return host.removeprefix("[").removesuffix("]"), int(port)


def _listening(address: str) -> socket.socket:
    host, port = split_address(address)
    try:
        if host:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            return socket.create_server((host, port), family=family, backlog=128)
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=128)
        return socket.create_server(("", port), backlog=128)
    except OSError as error:
        hint = "another process listens there; stop it, or choose another port with --web.listen-address"
        reason = hint if error.errno == errno.EADDRINUSE else str(error.strerror or error)
        raise ListenError(f"cannot listen on {address}: {reason}") from error


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    host = "localhost" if host in ("::", "0.0.0.0") else f"[{host}]" if ":" in host else host  # noqa: S104 (compared)
    return f"http://{host}:{port}/"
