"""A connection to a client: HTTP by uvicorn and httptools, with limits on time and size."""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from enum import Enum, auto
from functools import lru_cache
from typing import Any, Protocol

import httptools
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

MAX_HEAD = 1 << 16  # bytes
MAX_BODY = 1 << 20  # bytes
MAX_QUEUED = 16  # requests sent before the response to an earlier one
RECENT = 1.0  # seconds


class Phase(Enum):
    """What a connection is waiting for."""

    HEAD = auto()  # the TLS handshake, or the rest of the head of a request
    BODY = auto()  # the rest of the body of a request
    RESPONSE = auto()  # the application
    READER = auto()  # the client, to read what was sent
    IDLE = auto()  # the next request


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of connections; times are in seconds."""

    connections: int = 512
    head: float = 10  # for the TLS handshake and the head of a request, then for its body
    read: float = 30  # for a client to read 1 MiB of a response
    keep_alive: float = 75  # between requests

    def of(self, phase: Phase) -> float | None:
        """Return the limit of a phase; None if there is none."""
        match phase:
            case Phase.HEAD | Phase.BODY:
                return self.head
            case Phase.READER:
                return self.read
            case Phase.IDLE:
                return self.keep_alive
        return None


class Owner(Protocol):
    """The server of a connection."""

    @property
    def limits(self) -> Limits:
        """The limits of its connections."""

    def changed(self, connection: "Connection") -> None:
        """Note that a connection enters a phase."""

    def closed(self, connection: "Connection") -> None:
        """Forget a connection."""

    def bad_request(self, client: str, reason: str) -> None:
        """Log a bad request."""

    def internal_error(self) -> None:
        """Log the exception that is being handled."""


class _RejectedError(Exception):
    """A request that is not served; `args` are the status and the reason."""


class Connection(HttpToolsProtocol):
    """One connection; it is closed when it stays in a phase for longer than the limits allow."""

    def __init__(
        self, config: uvicorn.Config, state: ServerState, owner: Owner, accepted: socket.socket, peer: object
    ) -> None:
        """Return an accepted connection; the limit for the TLS handshake and the first head starts now."""
        super().__init__(config, state, {}, asyncio.get_running_loop())
        self._application: ASGIApp = self.app
        self.app = self._run_application
        self.phase = Phase.IDLE
        self._since = 0.0  # when the phase began
        self.outdated: Callable[[], bool] = lambda: False  # whether TLS settings have changed since
        self._accepted = accepted
        self._peer = peer
        self._owner = owner
        self._timer: asyncio.TimerHandle | None = None
        self._receiving: Phase | None = Phase.HEAD  # HEAD or BODY, while a request is incomplete
        self._head_size = self._body_size = 0
        self._closes = False  # nothing more is read
        self._cycle: RequestResponseCycle | None = None  # the response in progress; `self.cycle` is the last one
        self._task: asyncio.Task[None] | None = None
        self._enter(Phase.HEAD)

    @property
    def address(self) -> str:
        """The address and port of the client; empty for a Unix socket."""
        return ":".join(map(str, self._peer[:2])) if isinstance(self._peer, tuple) else ""

    @property
    def in_progress(self) -> bool:
        """Whether a response is being computed, or was read by the client a moment ago."""
        reading = self.phase is Phase.READER and self.loop.time() - self._since < RECENT
        return reading or self.phase is Phase.RESPONSE

    def abort(self) -> None:
        """Close the connection at once."""
        if self.transport:
            self.transport.abort()
        else:  # the TLS handshake is not done
            with suppress(OSError):
                self._accepted.shutdown(socket.SHUT_RDWR)

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the response in progress."""
        self.release()
        self.pipeline.clear()
        if self._cycle and self._task:
            self._cycle.disconnected = True
            self._task.cancel()
            self._cycle = self._task = None
        super().connection_lost(exc)

    def release(self) -> None:
        """Forget the connection."""
        if self._timer:
            self._timer.cancel()
        self._owner.closed(self)

    def shutdown(self) -> None:
        """Close the connection after the response in progress."""
        if self._cycle:
            self._close_after_response()
        elif self.transport:
            self.transport.close()
        else:
            self.abort()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes."""
        if self._closes:
            return
        self._head_size += len(data)
        try:
            self.parser.feed_data(data)
            if self._head_size > MAX_HEAD:
                raise _RejectedError(431, "the head of the request is too large")
        except httptools.HttpParserUpgrade:  # no other protocol is served: the response is an ordinary one
            self._close_after_response()
        except httptools.HttpParserError as error:
            rejected = error.__context__
            self._reject(*rejected.args if isinstance(rejected, _RejectedError) else (400, "malformed HTTP request"))
        except _RejectedError as rejected:
            self._reject(*rejected.args)
        self._update_phase()

    def on_message_begin(self) -> None:
        """Start with the head of a request."""
        self._receiving = Phase.HEAD
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the response. Raises _RejectedError."""
        if self.parser.get_http_version() not in ("1.0", "1.1"):
            raise _RejectedError(505, "only HTTP/1.0 and HTTP/1.1 are supported")
        if int(dict(self.headers).get(b"content-length", 0)) > MAX_BODY:
            raise _RejectedError(413, "the body of the request is too large")
        if len(self.pipeline) >= MAX_QUEUED:
            raise _RejectedError(400, "too many requests without waiting for responses")
        self.server_state.default_headers = _date_header(int(time.time()))
        super().on_headers_complete()
        if self.outdated():
            self.cycle.keep_alive = False
        self._receiving = Phase.BODY
        self._head_size = self._body_size = 0
        self.phase = Phase.IDLE  # the phase of the head has ended, also if that of the next head follows

    def on_body(self, body: bytes) -> None:
        """Take a part of the body of a request. Raises _RejectedError."""
        self._head_size = 0
        self._body_size += len(body)
        if self._body_size > MAX_BODY:
            raise _RejectedError(413, "the body of the request is too large")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._receiving = None
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Start the next response, or wait for the next request."""
        self._cycle = self._task = None
        if not self.transport.is_closing():
            if self.pipeline:
                self._start_asgi_task(*self.pipeline.pop())
            else:
                self.flow.resume_reading()
        self._update_phase()

    def pause_writing(self) -> None:
        """Wait until the client has read more."""
        super().pause_writing()
        self._update_phase()

    def resume_writing(self) -> None:
        """Continue with the response."""
        super().resume_writing()
        self._update_phase()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._cycle = cycle
        self._task = task = self.loop.create_task(cycle.run_asgi(app))
        task.add_done_callback(self._end_task)

    def _end_task(self, task: asyncio.Task[None]) -> None:
        if task is self._task:  # the response is incomplete, and the connection is being closed
            self._cycle = self._task = None
            self._update_phase()

    async def _run_application(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; its errors are logged here, because uvicorn logs them without limit."""
        try:
            await self._application(scope, receive, send)
        except asyncio.CancelledError:  # the connection was lost
            pass
        except Exception:  # noqa: BLE001 (the edge of the server; Starlette has sent a response with status 500)
            self._owner.internal_error()

    def _close_after_response(self) -> None:
        """Read nothing more, and close the connection after the response in progress."""
        self._closes = True
        self._receiving = None
        self.pipeline.clear()
        if self._cycle:
            self._cycle.keep_alive = False

    def _reject(self, status: int, reason: str) -> None:
        """Close the connection, with a response if none was sent for this request."""
        self._owner.bad_request(self.address, reason)
        if self._receiving is Phase.BODY:
            self.transport.abort()
        elif self._cycle:
            self._close_after_response()
        else:
            self._close_after_response()
            body = f"{reason}\n".encode()
            head = f"content-type: text/plain\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head.encode() + body)
            self.transport.close()

    def _update_phase(self) -> None:
        """Enter the phase that follows from what is incomplete."""
        if self.flow.write_paused or self.transport.is_closing():
            self._enter(Phase.READER)
        elif self._receiving:
            self._enter(self._receiving)
        else:
            self._enter(Phase.RESPONSE if self._cycle else Phase.IDLE)

    def _enter(self, phase: Phase) -> None:
        if phase is self.phase:
            return
        self.phase, self._since = phase, self.loop.time()
        self._owner.changed(self)
        if self._timer:
            self._timer.cancel()
        limit = self._owner.limits.of(phase)
        self._timer = None if limit is None else self.loop.call_later(limit, self._end_phase)

    def _end_phase(self) -> None:
        """Close the connection: the limit of its phase is reached."""
        if self.phase is Phase.IDLE and not self.transport.get_write_buffer_size():
            self.transport.close()
        else:
            self.abort()


@lru_cache(maxsize=1)
def _date_header(now: int) -> list[tuple[bytes, bytes]]:
    """The Date header; `now` is in seconds."""
    return [(b"date", formatdate(now, usegmt=True).encode())]
