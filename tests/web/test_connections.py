"""The limits of connections, over real sockets."""

import asyncio
import logging
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.web import Limits, Service, WebServer, limited_log, listen
from exporter.web.connection import MAX_BODY
from exporter.web.limited_log import LimitedLog
from tests.support.builders import eventually
from tests.support.web import REQUEST, Client, echo_path, endless, limits, serving

SHORT = 0.2  # seconds


@pytest.fixture
def url() -> Iterator[str]:
    """The URL of a server whose limits no test reaches."""
    with serving(echo_path, limits()) as server:
        yield server.urls[0]


class Gate:
    """An application that keeps requests for `/wait` waiting until it is opened."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self.waiting = threading.Semaphore(0)
        self.cancelled = threading.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/wait":
            self.waiting.release()
            try:
                await self.opened.wait()
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        await echo_path(scope, receive, send)

    def open(self, server: WebServer) -> None:
        server._loop.call_soon_threadsafe(self.opened.set)


async def large(_scope: Scope, _receive: Receive, send: Send) -> None:
    """An application with a response that is larger than the buffers of the kernel."""
    headers = [(b"content-length", str(64 << 20).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for unsent in reversed(range(64)):
        await send({"type": "http.response.body", "body": b"x" * (1 << 20), "more_body": unsent > 0})


def is_closed_after(client: Client, data: bytes) -> bool:
    """Whether the server has closed the connection, a moment after these bytes were sent."""
    try:
        return not client.send(data).socket.recv(1)
    except TimeoutError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True


def no_connections(server: WebServer) -> bool:
    return not server._connections


@pytest.mark.parametrize(
    "start", [b"", b"\r\n", b"G", b"GET / HTTP/1.1\r\nHost: te", b"GET / HTTP/1.1\r\nHost: test\r\n"]
)
def test_a_head_that_is_not_completed_ends_the_connection(start: bytes) -> None:
    with serving(echo_path, limits(head=SHORT)) as server, Client(server.urls[0]) as client:
        assert client.send(start).rest() == b""
        assert eventually(lambda: no_connections(server))


@pytest.mark.parametrize("start", [b"GET /", b"GET / HTTP/1.1\r\nname: ", b""])
def test_a_head_sent_byte_by_byte_ends_the_connection(start: bytes) -> None:
    byte = b"a" if start else b"\r\n"
    with serving(echo_path, limits(head=SHORT)) as server, Client(server.urls[0]) as client:
        client.send(start)
        client.socket.settimeout(SHORT / 10)
        assert any(is_closed_after(client, byte) for _ in range(1000))


def test_the_limit_of_a_head_starts_again_with_each_request() -> None:
    with serving(echo_path, limits(head=SHORT)) as server, ExitStack() as stack:
        client = stack.enter_context(Client(server.urls[0]))
        for _ in range(3):
            assert client.send(REQUEST[:10]).send(REQUEST[10:]).reply().status == 200
            with Client(server.urls[0]) as silent:
                assert silent.rest() == b""  # the limit has passed
        assert client.send(REQUEST[:10]).rest() == b""


def test_a_tls_handshake_that_is_not_started_ends_the_connection() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server = WebServer(Service(echo_path, [listen("127.0.0.1:0")], lambda: context), limits=limits(head=SHORT))
    server.start()
    with Client(server.urls[0]) as client:
        assert client.rest() == b""
        assert eventually(lambda: no_connections(server))
    server.stop()


@pytest.mark.parametrize(
    "request_head",
    [b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"],
)
def test_a_body_that_is_not_completed_ends_the_connection(request_head: bytes) -> None:
    with serving(echo_path, limits(head=SHORT)) as server, Client(server.urls[0]) as client:
        assert client.send(request_head).reply().text == "/"
        assert client.rest() == b""


def test_a_connection_without_a_next_request_ends() -> None:
    with serving(echo_path, limits(keep_alive=SHORT)) as server, Client(server.urls[0]) as client:
        assert client.get().keep_alive
        assert client.rest() == b""
        assert eventually(lambda: no_connections(server))


@pytest.mark.parametrize("app", [endless, large])
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_a_client_that_does_not_read_ends_its_connection(app: ASGIApp, version: bytes) -> None:
    request = REQUEST.replace(b"1.1", version)
    with serving(app, limits(read=SHORT)) as server, Client(server.urls[0], 4096) as client:
        client.send(request)
        assert eventually(lambda: bool(server._connections))
        assert eventually(lambda: no_connections(server))


def test_a_client_that_reads_gets_a_large_response_over_a_connection_that_stays_open() -> None:
    with serving(large, Limits()) as server, Client(server.urls[0], 4096) as client:
        for _ in range(2):
            assert len(client.get().text) == 64 << 20


def test_the_connection_that_is_idle_for_longest_makes_way_for_another() -> None:
    with serving(echo_path, limits(connections=3)) as server, ExitStack() as stack:
        first, second, third = (stack.enter_context(Client(server.urls[0])) for _ in range(3))
        for client in (first, second, third, first):
            assert client.get().status == 200
        fourth = stack.enter_context(Client(server.urls[0]))
        assert fourth.get().status == 200
        assert second.rest() == b""
        for client in (first, third, fourth):
            assert client.get().status == 200


def test_many_connections_do_not_keep_a_new_one_from_being_served() -> None:
    with serving(echo_path, limits(connections=10)) as server, ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(Client(server.urls[0])).send(b"GET /")
            assert stack.enter_context(Client(server.urls[0])).get().status == 200
        assert eventually(lambda: len(server._connections) == 10)


def test_a_response_in_progress_is_not_interrupted_for_another_connection() -> None:
    gate = Gate()
    with serving(gate, limits(connections=2)) as server, ExitStack() as stack:
        busy = stack.enter_context(Client(server.urls[0])).send(REQUEST.replace(b"/ ", b"/wait "))
        gate.waiting.acquire()
        idle = stack.enter_context(Client(server.urls[0]))
        assert idle.get().status == 200
        assert stack.enter_context(Client(server.urls[0])).get().status == 200
        assert idle.rest() == b""
        gate.open(server)
        assert busy.reply().text == "/wait"


def test_the_longest_response_is_interrupted_if_all_connections_have_one() -> None:
    gate = Gate()
    with serving(gate, limits(connections=2)) as server, ExitStack() as stack:
        first, second = (stack.enter_context(Client(server.urls[0])) for _ in range(2))
        for client in (first, second):
            client.send(REQUEST.replace(b"/ ", b"/wait "))
            gate.waiting.acquire()
        assert stack.enter_context(Client(server.urls[0])).get().status == 200
        assert first.rest() == b""
        gate.open(server)
        assert second.reply().text == "/wait"


def test_the_response_to_a_client_that_left_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with serving(gate, limits()) as server:
        with Client(server.urls[0]) as client:
            client.send(REQUEST.replace(b"/ ", b"/wait "))
            gate.waiting.acquire()
        assert gate.cancelled.wait(20)
        assert eventually(lambda: no_connections(server))
    assert caplog.text == ""


def test_a_client_that_left_with_several_requests_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()
    with serving(gate, limits()) as server:
        with Client(server.urls[0]) as client:
            client.send(REQUEST.replace(b"/ ", b"/wait ") * 3)
            gate.waiting.acquire()
        gate.open(server)
        assert eventually(lambda: no_connections(server))
    assert caplog.text == ""


@pytest.mark.parametrize("size", [MAX_BODY, MAX_BODY + 1])
def test_a_body_above_the_limit_is_rejected(url: str, size: int) -> None:
    with Client(url) as client:
        client.send(b"POST /a HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % size)
        reply = client.reply()
        if size > MAX_BODY:
            assert (reply.status, reply.text) == (413, "the body of the request is too large\n")
            assert client.rest() == b""
        else:
            assert (reply.status, client.send(b"x" * size).get("/b").text) == (200, "/b")


def test_a_body_in_chunks_is_read_up_to_the_limit(url: str) -> None:
    chunk = b"%x\r\n%s\r\n" % (1 << 16, b"x" * (1 << 16))
    with Client(url) as client:
        client.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 16 + b"0\r\n\r\n")
        assert (client.reply().text, client.get("/b").text) == ("/a", "/b")
        client.send(b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            client.send(chunk * 1000)


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        (b"GET / HTTP/9.9", 400),
        (b"PRI * HTTP/2.0", 400),
        (b"GET / HTTP/2.0", 505),
        (b"GET / HTTP/0.9", 505),
        (b"GET /", 505),
        (b"FOO / HTTP/1.1", 400),
        (b"GET \xff HTTP/1.1", 400),
        (b"CONNECT evil.example:443 HTTP/1.1", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ],
)
def test_what_is_not_http_1_is_rejected(
    url: str, request_line: bytes, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(url) as client:
        client.send(request_line + b"\r\nHost: test\r\n\r\nSM\r\n\r\n")
        reply = client.reply()
        assert (reply.status, reply.keep_alive, client.rest()) == (status, False, b"")
    assert [(record.getMessage(), record.exc_info) for record in caplog.records] == [("bad request", None)]


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 1\r\nContent-Length: 2\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999999\r\n",
        b"Content-Length: " + b"0" * 5000 + b"\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"na me: value\r\n",
        b"name: a\0b\r\n",
        b" folded\r\n",
    ],
)
def test_ambiguous_heads_are_rejected(url: str, head: bytes) -> None:
    with Client(url) as client:
        assert (client.send(b"POST / HTTP/1.1\r\n" + head + b"\r\n").reply().status, client.rest()) == (400, b"")


def test_a_request_for_another_protocol_gets_an_ordinary_response(url: str, caplog: pytest.LogCaptureFixture) -> None:
    upgrade = b"GET /a HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    with Client(url) as client:
        reply = client.send(upgrade + b"\x81\x05hello").reply()
        assert (reply.text, reply.keep_alive, client.rest()) == ("/a", False, b"")
    assert caplog.text == ""


def test_requests_sent_together_get_their_responses_in_order(url: str) -> None:
    with Client(url) as client:
        requests = b"".join(b"GET /%d HTTP/1.1\r\n\r\n" % number for number in range(10))
        received = client.send(requests + b"GET /last HTTP/1.0\r\n\r\n").rest()
        bodies = re.findall(rb"\r\n\r\n(/[a-z0-9]+)", received)
        assert bodies == [*(b"/%d" % number for number in range(10)), b"/last"]


def test_too_many_requests_sent_together_end_the_connection(url: str) -> None:
    with Client(url) as client:
        assert len(client.send(REQUEST * 1000).rest()) < 1000


def test_a_bad_request_after_a_good_one_does_not_cut_off_its_response(url: str) -> None:
    with Client(url) as client:
        reply = client.send(REQUEST + b"bad\r\n\r\n").reply()
        assert (reply.text, reply.keep_alive, client.rest()) == ("/", False, b"")


def test_errors_of_the_application_are_logged_a_few_times(caplog: pytest.LogCaptureFixture) -> None:
    def failing(_request: Request) -> Response:
        raise ValueError("a bug")

    with serving(Starlette(routes=[Route("/", failing)])) as server, Client(server.urls[0]) as client:
        assert [client.get().status for _ in range(20)] == [500] * 20
    messages = [(record.getMessage(), record.exc_info is not None) for record in caplog.records]
    internal_error = "internal error, please report it"
    assert messages == [(internal_error, True)] * limited_log.FIRST + [(f"{internal_error}: 15 more", False)]


def test_bad_requests_are_logged_a_few_times_and_then_counted(caplog: pytest.LogCaptureFixture) -> None:
    with serving(echo_path) as server:
        for _ in range(20):
            with Client(server.urls[0]) as client:
                assert client.send(b"bad\r\n\r\n").reply().status == 400
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["bad request"] * limited_log.FIRST + ["bad request: 15 more"]
    assert vars(caplog.records[0])["reason"] == "malformed HTTP request"
    assert vars(caplog.records[0])["client"].startswith("127.0.0.1:")


class FakeLoop(asyncio.SelectorEventLoop):
    """An event loop whose timers a test fires."""

    def call_later(
        self, delay: float, callback: Callable[..., object], *_: object, **__: object
    ) -> asyncio.TimerHandle:
        assert delay == limited_log.PERIOD
        self.timer = callback
        return asyncio.TimerHandle(0, callback, (), self)


def test_a_limited_log_counts_once_a_minute_until_a_minute_is_quiet(caplog: pytest.LogCaptureFixture) -> None:
    loop = FakeLoop()
    log = LimitedLog(logging.getLogger("test"), "m", loop)

    def logged(count: int) -> list[str]:
        caplog.clear()
        for _ in range(count):
            log.warning()
        loop.timer()
        return [record.getMessage() for record in caplog.records]

    assert logged(7) == ["m"] * 5 + ["m: 2 more"]
    assert logged(3) == ["m: 3 more"]
    assert logged(0) == []
    assert logged(2) == ["m", "m"]
    assert logged(0) == []
    loop.close()


def test_responses_in_progress_are_completed_at_the_end() -> None:
    gate = Gate()
    with serving(gate) as server, ExitStack() as stack:
        busy, idle = (stack.enter_context(Client(server.urls[0])) for _ in range(2))
        assert idle.get().status == 200
        busy.send(REQUEST.replace(b"/ ", b"/wait "))
        gate.waiting.acquire()
        server._loop.call_soon_threadsafe(server._stop.set)
        assert idle.rest() == b""
        gate.open(server)
        reply = busy.reply()
        assert (reply.text, reply.keep_alive, busy.rest()) == ("/wait", False, b"")


def test_requests_that_arrived_before_the_end_are_answered() -> None:
    with serving(echo_path) as server, ExitStack() as stack:
        blocked = threading.Event()
        server._loop.call_soon_threadsafe(blocked.wait)
        server._loop.call_soon_threadsafe(server._stop.set)
        clients = [stack.enter_context(Client(server.urls[0])).send() for _ in range(3)]
        blocked.set()
        assert [client.reply().status for client in clients] == [200] * 3
