"""HTTP transport: a limit for the whole request, and numbers of any length."""

import contextlib
import inspect
import ssl
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from urllib3.exceptions import HTTPError

from exporter.facts.model import PollResult
from exporter.googleapis import transport
from exporter.googleapis.transport import Transport
from exporter.scan import parse
from exporter.scan.source import ALL_INSTANCES, SourceError
from tests.googleapis.helpers import FixedResponse, google_source, serve


class SlowBody(FixedResponse):
    """Sends a byte every 50 ms, for a minute."""

    def respond(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1200")
        self.end_headers()
        self.send_slowly(b" ")

    def send_slowly(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for _ in range(1200):
                self.wfile.write(data)
                threading.Event().wait(0.05)


class SlowHeaders(SlowBody):
    """Sends a byte every 50 ms of a header that does not end."""

    def respond(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        self.send_slowly(b"x")


@pytest.mark.parametrize("handler", [SlowBody, SlowHeaders])
def test_slow_response_is_aborted_at_timeout(handler: type[FixedResponse]) -> None:
    with serve(handler) as url:
        source = google_source(url, timedelta(seconds=0.5))
        start = time.monotonic()
        with pytest.raises(SourceError) as raised:
            list(source.instances("museum"))
        duration = time.monotonic() - start
    assert raised.value.result is PollResult.TIMEOUT
    assert duration < 10


def test_very_long_number_affects_only_its_field() -> None:
    body = b'{"items": [{"id": %s, "instance": "a"}]}' % (b"9" * 10_000)
    with serve(type("Handler", (FixedResponse,), {"body": body})) as url:
        (page,) = google_source(url).backup_runs("museum", ALL_INSTANCES)
    (item,) = page.items
    assert parse.json_value(item) == {"id": "9" * 10_000, "instance": "a"}


class Greeting(FixedResponse):
    body = b"hello"


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


@pytest.fixture
def serve_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[type[FixedResponse]], str]:
    """Starts an https server, whose certificate is trusted by SSL_CERT_FILE; returns its URL."""
    cert_file, key_file = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert_file))
    monkeypatch.setattr(transport, "_ssl_context", inspect.unwrap(transport._ssl_context))  # not the shared one
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert_file, key_file)

    def start(handler: type[FixedResponse]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"https://localhost:{server.server_address[1]}/"

    return start


def test_https_response_is_read(serve_tls: Callable[[type[FixedResponse]], str]) -> None:
    assert Transport(5, 1).get(serve_tls(Greeting), {}).body == b"hello"


@pytest.mark.parametrize("handler", [SlowBody, SlowHeaders])
def test_slow_https_response_is_aborted(
    serve_tls: Callable[[type[FixedResponse]], str], handler: type[FixedResponse]
) -> None:
    url = serve_tls(handler)
    start = time.monotonic()
    with pytest.raises(HTTPError):
        Transport(0.5, 1).get(url, {})
    assert time.monotonic() - start < 10


def test_untrusted_certificate_is_rejected(
    serve_tls: Callable[[type[FixedResponse]], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = serve_tls(Greeting)
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(HTTPError, match="CERTIFICATE_VERIFY_FAILED"):
        Transport(5, 1).get(url, {})


def test_requests_use_the_proxy_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    class Direct(FixedResponse):
        body = b"direct"

    with serve(Greeting) as proxy, serve(Direct) as direct:
        monkeypatch.setenv("http_proxy", proxy.replace("127.0.0.1", "localhost"))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        transport = Transport(5, 1)
        assert transport.get("http://api.invalid/", {}).body == b"hello"
        assert transport.get(direct, {}).body == b"direct"
        transport.close()


def test_connection_is_reused_until_closed() -> None:
    ports: list[int] = []

    class Recording(Greeting):
        protocol_version = "HTTP/1.1"

        def respond(self) -> None:
            ports.append(self.client_address[1])
            super().respond()

    with serve(Recording) as url:
        transport = Transport(5, 1)
        transport.get(url, {})
        transport.get(url, {})
        transport.close()
        transport.get(url, {})
        transport.close()
    assert ports[0] == ports[1] != ports[2]
