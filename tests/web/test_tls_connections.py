"""The limits of connections with TLS, over real sockets."""

import http.client
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from starlette.types import ASGIApp

from exporter.web import Limits, Service, WebServer, listen
from tests.support.builders import eventually
from tests.support.certificates import authority, issue
from tests.support.web import REQUEST, Client, echo_path, endless, limits

CA = authority()
SHORT = 0.2  # seconds


@pytest.fixture
def context(tmp_path: Path) -> ssl.SSLContext:
    """A context with a certificate."""
    return server_context(tmp_path, "server")


def server_context(folder: Path, name: str) -> ssl.SSLContext:
    certificate, key = issue(CA).write(folder, name)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@contextmanager
def serving(app: ASGIApp, tls_context: Callable[[], ssl.SSLContext | None], limits: Limits) -> Iterator[WebServer]:
    server = WebServer(Service(app, [listen("127.0.0.1:0")], tls_context), limits=limits)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def encrypted(server: WebServer, receive_buffer: int | None = None) -> Client:
    """A connection with TLS."""
    client = Client(server.urls[0], receive_buffer)
    trusted = ssl.create_default_context(cadata=CA.cert.decode())
    client.socket = trusted.wrap_socket(client.socket, server_hostname="localhost")
    return client


def certificate(client: Client) -> bytes | None:
    assert isinstance(client.socket, ssl.SSLSocket)
    return client.socket.getpeercert(binary_form=True)


def test_each_connection_has_the_tls_context_of_its_time(tmp_path: Path) -> None:
    first, second = (server_context(tmp_path, name) for name in ("first", "second"))
    current: list[ssl.SSLContext | None] = [first]
    with serving(echo_path, lambda: current[0], limits()) as server, ExitStack() as stack:
        early = stack.enter_context(encrypted(server))
        assert early.get().status == 200
        current[0] = second
        late = stack.enter_context(encrypted(server))
        assert (late.get().status, certificate(late) == certificate(early)) == (200, False)
        current[0] = None
        with Client(server.urls[0]) as plain:
            assert plain.get().status == 200
        assert (early.get().status, late.get().status) == (200, 200)


def test_the_scheme_of_the_url_follows_the_tls_context(context: ssl.SSLContext) -> None:
    with serving(echo_path, lambda: context, limits()) as server:
        assert urlsplit(server.urls[0]).scheme == "https"


def test_failed_handshakes_are_logged_without_a_traceback(
    context: ssl.SSLContext, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(echo_path, lambda: context, limits()) as server:
        with Client(server.urls[0]) as plain:
            plain.send(REQUEST).rest()
        with Client(server.urls[0]) as absent:
            absent.send(b"\x16\x03")
        assert eventually(lambda: not server._connections)
    records = [(record.getMessage(), vars(record)["reason"], record.exc_info) for record in caplog.records]
    assert records == [("bad request", "TLS handshake failed: HTTP_REQUEST", None)]


@pytest.mark.parametrize("start", [b"", b"\x16\x03\x01\x02\x00\x01"])
def test_a_handshake_that_is_not_completed_ends_the_connection(
    context: ssl.SSLContext, start: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(echo_path, lambda: context, limits(head=SHORT)) as server, Client(server.urls[0]) as client:
        assert client.send(start).rest() == b""
        assert eventually(lambda: not server._connections)
    assert caplog.text == ""


def test_handshakes_make_way_for_another_connection(context: ssl.SSLContext) -> None:
    with serving(echo_path, lambda: context, limits(connections=2)) as server, ExitStack() as stack:
        silent = [stack.enter_context(Client(server.urls[0])) for _ in range(10)]
        with encrypted(server) as client:
            assert client.get().status == 200
            assert [connection.rest() for connection in silent[:9]] == [b""] * 9
            assert client.get().status == 200


def test_a_client_that_does_not_read_ends_its_connection(context: ssl.SSLContext) -> None:
    with (
        serving(endless, lambda: context, limits(read=SHORT)) as server,
        encrypted(server, receive_buffer=4096) as client,
    ):
        client.send()
        assert eventually(lambda: bool(server._connections))
        assert eventually(lambda: not server._connections)


def test_a_client_that_does_not_answer_the_end_of_tls_is_disconnected(context: ssl.SSLContext) -> None:
    with serving(echo_path, lambda: context, limits(keep_alive=SHORT)) as server, encrypted(server) as client:
        assert client.get().status == 200
        assert eventually(lambda: not server._connections)


def test_a_stop_ends_handshakes_and_completes_requests(context: ssl.SSLContext) -> None:
    with serving(echo_path, lambda: context, limits()) as server, ExitStack() as stack:
        silent = stack.enter_context(Client(server.urls[0]))
        idle = stack.enter_context(encrypted(server))
        assert idle.get().status == 200
        server.stop()
        assert silent.rest() == b""
        with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
            idle.get()
