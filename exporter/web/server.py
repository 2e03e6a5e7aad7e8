"""The HTTP server, in a thread of its own: signals and polls stay in others."""

import asyncio
import errno
import logging
import socket
import ssl
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import uvicorn
import uvloop
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from exporter.web.connection import Connection, Limits
from exporter.web.limited_log import LimitedLog
from exporter.web.listeners import listener_url

log = logging.getLogger(__name__)

GRACE_PERIOD = 0.8  # seconds for responses in progress at the end
LAST_REQUESTS = 0.05  # seconds for requests that have been sent, but not read at the end
MAX_ACCEPTS = 64  # connections accepted in a row, before those that are open get their turn
RETRY_ACCEPT = 0.1  # seconds
NO_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
TLS_SHUTDOWN_TIMEOUT = 1.0  # seconds


def no_tls() -> None:
    """Return None: connections are not encrypted."""


def _is_outdated(tls_context: Callable[[], ssl.SSLContext | None], context: ssl.SSLContext | None) -> bool:
    """Whether new connections have another TLS context."""
    return tls_context() is not context


@dataclass(frozen=True)
class Service:
    """An application and the sockets on which it is served.

    `tls_context` is called for each connection; `path` is that of the application's first page.
    """

    app: ASGIApp
    listeners: Sequence[socket.socket]
    tls_context: Callable[[], ssl.SSLContext | None] = no_tls
    path: str = "/"

    @property
    def urls(self) -> list[str]:
        """One URL per socket."""
        scheme = "https" if self.tls_context() else "http"
        return [listener_url(listener, scheme, self.path) for listener in self.listeners]

    def config(self) -> uvicorn.Config:
        """The settings of a connection."""
        return uvicorn.Config(
            self.app,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )


class WebServer:
    """Serves applications. If there are too many connections, it closes those that have been idle for longest."""

    def __init__(self, *services: Service, limits: Limits = Limits()) -> None:  # noqa: B008 (immutable)
        """Return a server that is not started yet."""
        self._services = services
        self.limits = limits
        self._loop = uvloop.new_event_loop()
        self._state = ServerState()
        self._connections: OrderedDict[Connection, None] = OrderedDict()  # by the last change of their phases
        self._bad_requests = LimitedLog(log, "bad request", self._loop)
        self._internal_errors = LimitedLog(log, "internal error, please report it", self._loop)
        self._shortages = LimitedLog(log, "cannot accept a connection", self._loop)
        self._stop, self._all_closed = asyncio.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="web", daemon=True)

    @property
    def urls(self) -> list[str]:
        """One URL per socket."""
        return [url for service in self._services for url in service.urls]

    def start(self) -> None:
        """Serve in the background."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; responses in progress get a short time to end."""
        with suppress(RuntimeError):  # it has stopped
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(GRACE_PERIOD)

    def changed(self, connection: Connection) -> None:
        """Note that a connection enters a phase."""
        if connection in self._connections:  # it is being closed otherwise
            self._connections.move_to_end(connection)

    def closed(self, connection: Connection) -> None:
        """Forget a connection."""
        self._connections.pop(connection, None)
        if not self._connections:
            self._all_closed.set()

    def bad_request(self, client: str, reason: str) -> None:
        """Log a bad request."""
        self._bad_requests.warning(client=client, reason=reason)

    def internal_error(self) -> None:
        """Log the exception that is being handled."""
        self._internal_errors.exception()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        """Serve until `stop` is called."""
        acceptors = [
            (listener, partial(self._accept, listener, service.config(), service.tls_context))
            for service in self._services
            for listener in service.listeners
        ]
        for listener, accept in acceptors:
            listener.setblocking(False)
            if listener.family != socket.AF_UNIX:  # accepted connections inherit it
                listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._loop.add_reader(listener, accept)
        await self._stop.wait()
        for listener, accept in acceptors:
            self._loop.remove_reader(listener)
            accept()
            listener.close()
        await self._close_connections()
        for limited_log in (self._bad_requests, self._internal_errors, self._shortages):
            limited_log.flush()

    def _accept(
        self, listener: socket.socket, config: uvicorn.Config, tls_context: Callable[[], ssl.SSLContext | None]
    ) -> None:
        """Accept the connections that are waiting."""
        for _ in range(MAX_ACCEPTS):
            try:
                accepted, peer = listener.accept()
            except OSError as error:  # mostly BlockingIOError: there are no more
                if error.errno in NO_RESOURCES:
                    self._shortages.warning(reason=error.strerror)
                    if self._connections:
                        self._close_longest_idle()
                    else:
                        self._pause(listener, partial(self._accept, listener, config, tls_context))
                return
            if len(self._connections) >= self.limits.connections:
                self._close_longest_idle()
            accepted.setblocking(False)
            connection = Connection(config, self._state, self, accepted, peer)
            context = tls_context()
            connection.outdated = partial(_is_outdated, tls_context, context)
            self._connections[connection] = None
            self._open(connection, accepted, context)

    def _pause(self, listener: socket.socket, accept: Callable[[], None]) -> None:
        """Accept no connection for a moment."""

        def resume() -> None:
            if not self._stop.is_set():
                self._loop.add_reader(listener, accept)

        self._loop.remove_reader(listener)
        self._loop.call_later(RETRY_ACCEPT, resume)

    def _close_longest_idle(self) -> None:
        """Close a connection, if possible one without a response in progress."""
        idle = (connection for connection in self._connections if not connection.in_progress)
        longest = next(idle, None) or next(iter(self._connections))
        del self._connections[longest]  # `closed` is called in a later turn of the event loop
        longest.abort()

    def _open(self, connection: Connection, accepted: socket.socket, context: ssl.SSLContext | None) -> None:
        """Connect a protocol to its socket, after the TLS handshake."""
        timeout = TLS_SHUTDOWN_TIMEOUT if context else None
        opening = self._loop.create_task(
            self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=context, ssl_shutdown_timeout=timeout)
        )

        def end(opening: "asyncio.Task[object]") -> None:
            """Forget a connection whose client left, took too long or failed the handshake."""
            error = opening.exception()
            if error:
                connection.release()
            if isinstance(error, ssl.SSLError):
                reason = getattr(error, "verify_message", None) or error.reason
                self.bad_request(connection.address, f"TLS handshake failed: {reason}")

        opening.add_done_callback(end)

    async def _close_connections(self) -> None:
        """Answer the requests that have arrived, and close all connections."""
        with suppress(TimeoutError):
            async with asyncio.timeout(GRACE_PERIOD):
                if self._connections:
                    await asyncio.sleep(LAST_REQUESTS)
                for connection in list(self._connections):
                    connection.shutdown()
                while self._connections:
                    self._all_closed.clear()
                    await self._all_closed.wait()
        for connection in list(self._connections):
            connection.abort()
