"""A web server for tests, and raw connections to it."""

import http.client
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.web import Limits, Service, WebServer, listen

REQUEST = b"GET / HTTP/1.1\r\nHost: test\r\n\r\n"
LONG = 600.0  # seconds; a limit that no test reaches


def limits(connections: int = 512, head: float = LONG, read: float = LONG, keep_alive: float = LONG) -> Limits:
    """Return limits of which only the given ones can be reached."""
    return Limits(connections, head, read, keep_alive)


@contextmanager
def serving(
    app: ASGIApp, limits: Limits | None = None, tls_context: Callable[[], ssl.SSLContext | None] = lambda: None
) -> Iterator[WebServer]:
    """Run a server on a free loopback port until the block ends."""
    server = WebServer(Service(app, [listen("127.0.0.1:0")], tls_context), limits=limits or Limits())
    server.start()
    try:
        yield server
    finally:
        server.stop()


def port(server: WebServer) -> int:
    """Return the port of a server."""
    return urlsplit(server.urls[0]).port or 0


async def respond(send: Send, body: bytes, status: int = 200) -> None:
    """Send a response."""
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def echo_path(scope: Scope, _receive: Receive, send: Send) -> None:
    """An application that responds with the path of the request."""
    await respond(send, scope["path"].encode())


async def endless(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application whose response does not end."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    while True:
        await send({"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": True})


@dataclass(frozen=True)
class Reply:
    """A response as text, and whether the connection stays open after it."""

    status: int
    text: str
    keep_alive: bool


class Client:
    """A connection to a server, byte by byte."""

    def __init__(self, url: str, receive_buffer: int | None = None) -> None:
        """Connect. A small receive buffer keeps the kernel from reading in place of the client."""
        address = urlsplit(url)
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(20)
        self.socket.connect((address.hostname or "", address.port or 0))

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes = REQUEST) -> "Client":
        """Send bytes, by default a request."""
        self.socket.sendall(data)
        return self

    def reply(self) -> Reply:
        """Read one response."""
        response = http.client.HTTPResponse(self.socket)
        response.begin()
        with response:
            return Reply(response.status, response.read().decode(), not response.will_close)

    def get(self, path: str = "/") -> Reply:
        """Send a request and read its response."""
        return self.send(f"GET {path} HTTP/1.1\r\nHost: test\r\n\r\n".encode()).reply()

    def rest(self) -> bytes:
        """Read until the server closes the connection."""
        received = b""
        try:
            while data := self.socket.recv(1 << 16):
                received += data
        except ConnectionResetError:
            pass
        return received
