"""The HTTP server and the responses to scrapes, over real sockets."""

import http.client
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import datetime
from urllib.parse import urlsplit

import pytest
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from exporter.metrics.exposition import OPENMETRICS, TEXT, cache
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.web import Service, WebServer, application, listen, scrape
from tests.support.builders import DAY, NOW, config, world

NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


def connected(server: WebServer) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.urls[0]).netloc, timeout=20)


def answer(connection: http.client.HTTPConnection, method: str = "GET", **headers: str) -> bytes:
    connection.request(method, "/metrics", headers={"Accept-Encoding": "identity", **headers})
    with connection.getresponse() as response:
        assert response.status == 200
        return response.read()


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def exporter(simulator: Simulator, clock: Clock) -> Iterator[Exporter]:
    settings = config(simulator.url, ("museum", "shop-prod"))
    exporter = Exporter(lambda: settings, clock, process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    yield exporter
    exporter.close()


@pytest.fixture
def server(exporter: Exporter) -> Iterator[WebServer]:
    server = WebServer(Service(application(exporter), [listen("127.0.0.1:0")]))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def threaded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scrapes that were computed in a thread, by function."""
    calls: list[str] = []

    def counted(function: Callable[..., object], *args: object, **options: object) -> Awaitable[object]:
        calls.append(function.__name__)
        return run_in_threadpool(function, *args, **options)

    monkeypatch.setattr(scrape, "run_in_threadpool", counted)
    return calls


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0"])
def test_accepted_connections_send_without_delay(address: str) -> None:
    """With Nagle's algorithm, a response in several writes waits 40 ms for the client's delayed ACK."""

    async def no_delay(_scope: Scope, _receive: Receive, send: Send) -> None:
        transport = send.__self__.transport  # type: ignore[attr-defined] # of uvicorn
        with socket.socket(fileno=os.dup(transport.get_extra_info("socket").fileno())) as accepted:
            text = str(accepted.getsockopt(*NO_DELAY)).encode()
        headers = [(b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    server = WebServer(Service(no_delay, [listen(address)]))
    server.start()
    connection = connected(server)
    connection.request("GET", "/")
    with connection.getresponse() as response:
        assert response.read() == b"1"
    connection.close()
    server.stop()


def test_a_scrape_uses_a_thread_only_for_what_is_not_rendered_yet(
    exporter: Exporter, server: WebServer, clock: Clock, threaded: list[str]
) -> None:
    connection = connected(server)

    def uses_thread(**headers: str) -> bool:
        before = len(threaded)
        answer(connection, **headers)
        return len(threaded) > before

    gzip, openmetrics = {"Accept-Encoding": "gzip"}, {"Accept": "application/openmetrics-text"}
    for headers in ({}, gzip, openmetrics):  # each has a static part of its own
        assert [uses_thread(**headers) for _ in range(3)] == [True, False, False]
    exporter._running.poller.snapshot = replace(exporter.snapshot)  # new facts
    assert [uses_thread() for _ in range(2)] == [True, False]
    clock.now += DAY  # new verdicts by the same facts
    assert [uses_thread() for _ in range(2)] == [True, False]
    connection.close()


def test_a_scrape_of_many_ages_uses_a_thread(
    server: WebServer, threaded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MAX_QUICK_AGES", 10)
    connection = connected(server)
    for _ in range(3):
        answer(connection)
    connection.close()
    assert threaded == ["exposition"] * 3


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
@pytest.mark.parametrize("gzip", [False, True])
def test_a_quick_body_equals_that_of_a_thread(exporter: Exporter, content_type: str, gzip: bool) -> None:
    body = exporter.exposition(content_type, gzip=gzip)
    assert exporter.quick_exposition(content_type, gzip=gzip) == body


def test_a_quick_body_has_the_ages_of_its_time(exporter: Exporter, clock: Clock) -> None:
    line = b'facts_age_seconds{project="museum"} '
    exporter.exposition(TEXT)
    ages = []
    for microseconds in range(2):
        clock.now = NOW.replace(microsecond=microseconds)
        body = exporter.quick_exposition(TEXT)
        assert body
        ages.append(b"".join(body.parts).split(line)[1].split(b"\n")[0])
    assert ages == [b"0.0", b"1e-06"]


def test_a_body_of_many_chunks_is_complete_and_the_connection_stays_open(
    exporter: Exporter, server: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = b"".join(exporter.exposition(TEXT).parts)
    monkeypatch.setattr(cache, "CHUNK_SIZE", 1000)
    assert len(list(exporter.exposition(TEXT).chunks())) > 10
    connection = connected(server)
    answers = [answer(connection, method) for method in ("GET", "HEAD", "GET")]
    connection.close()
    assert answers == [expected, b"", expected]


@pytest.mark.parametrize(
    ("start", "repeated"),
    [
        (b"GET /", b"a"),
        (b"GET / HTTP/1.1\r\nname: ", b"a"),
        (b"GET / HTTP/1.1\r\n", b"name: value\r\n"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"trailer: value\r\n"),
    ],
)
def test_endless_headers_end_the_connection(server: WebServer, start: bytes, repeated: bytes) -> None:
    address = urlsplit(server.urls[0])
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(start)
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            connection.sendall(repeated * 10_000_000)


def test_a_large_request_body_is_not_taken_for_headers(server: WebServer) -> None:
    connection = connected(server)
    connection.request("GET", "/-/healthy", body=b"x" * 1_000_000)
    with connection.getresponse() as response:
        assert response.status == 200
    connection.close()
