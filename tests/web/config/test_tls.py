"""TLS as set in the web configuration file, over real sockets."""

import http.client
import ipaddress
import os
import socket
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from starlette.types import Receive, Scope, Send

from exporter.web.config import load
from tests.support.certificates import CLIENT, DAY, LOCALHOST, SERVER, Certificate, authority, issue
from tests.support.web import port as port_of
from tests.support.web import serving

CA = authority("CA")
OTHER_CA = authority("other CA")
SERVER_CERTIFICATE = issue(CA)
REFUSED = (ssl.SSLError, ConnectionError)
FILES = "cert_file: server.crt, key_file: server.key"
VERIFY = "client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the server's certificate and the CA of clients."""
    SERVER_CERTIFICATE.write(tmp_path, "server")
    CA.write(tmp_path, "ca")
    return tmp_path


class Application:
    """Counts its requests."""

    requests = 0

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Respond with 200."""
        self.requests += 1
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body"})


@contextmanager
def tls_server(folder: Path, settings: str, application: Application | None = None) -> Iterator[int]:
    """Serve with the settings of `tls_server_config`; the port."""
    file = folder / "web.yml"
    file.write_text(settings if "\n" in settings else f"tls_server_config: {{{settings}}}")
    context = load(file).tls
    assert context
    with serving(application or Application(), tls_context=lambda: context) as server:
        yield port_of(server)


def client(folder: Path, certificate: Certificate | None = None) -> ssl.SSLContext:
    """A client that trusts the CA, with or without a certificate of its own."""
    context = ssl.create_default_context(cadata=CA.cert.decode())
    if certificate:
        context.load_cert_chain(*certificate.write(folder, "client"))
    return context


def connect(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> ssl.SSLSocket:
    """A connection after its TLS handshake."""
    plain = socket.create_connection(("127.0.0.1", port), timeout=20)
    try:
        return context.wrap_socket(plain, server_hostname="localhost", session=session)
    except OSError:
        plain.close()
        raise


def status_on(connection: ssl.SSLSocket) -> int:
    """The status of the response to a request."""
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    response = http.client.HTTPResponse(connection)
    response.begin()
    response.read()
    response.close()
    return response.status


def status(port: int, context: ssl.SSLContext) -> int:
    """The status of the response to a request on a new connection."""
    with connect(port, context) as connection:
        return status_on(connection)


def refused_by_server() -> "pytest.RaisesExc[OSError]":
    """The connection was closed by the server, and not for a reason of the client."""
    return pytest.raises(REFUSED, match=r"(?i)eof|reset|closed|broken pipe|alert")


def pinned(context: ssl.SSLContext, version: ssl.TLSVersion) -> ssl.SSLContext:
    """A client that speaks one version only."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.1
        context.minimum_version = context.maximum_version = version
    return context


def test_a_server_with_a_certificate_speaks_tls_only(folder: Path) -> None:
    application = Application()
    with tls_server(folder, FILES, application) as port:
        assert status(port, client(folder)) == 200
        plain = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        plain.request("GET", "/")
        with pytest.raises((http.client.HTTPException, ConnectionError)):
            plain.getresponse()
        plain.close()
    assert application.requests == 1


def test_a_server_without_a_certificate_speaks_no_tls(folder: Path) -> None:
    with serving(Application()) as server, pytest.raises(ssl.SSLError):
        status(port_of(server), client(folder))


def test_certificate_key_and_ca_may_be_inline(folder: Path) -> None:
    def block(key: str, pem: bytes) -> str:
        return f"  {key}: |\n" + "".join(f"    {line}\n" for line in pem.decode().splitlines())

    pems = {"cert": SERVER_CERTIFICATE.cert, "key": SERVER_CERTIFICATE.key, "client_ca": CA.cert}
    settings = "tls_server_config:\n  client_auth_type: RequireAndVerifyClientCert\n"
    with tls_server(folder, settings + "".join(block(*item) for item in pems.items())) as port:
        assert status(port, client(folder, issue(CA, usage=CLIENT))) == 200
        with refused_by_server():
            status(port, client(folder))


@pytest.mark.parametrize("error", [AttributeError, PermissionError])
def test_certificates_are_loaded_without_files_in_memory(
    folder: Path, error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Systems other than Linux have none, and filters of system calls may deny them."""

    def fail(_name: str) -> int:
        raise error

    monkeypatch.setattr(os, "memfd_create", fail)
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    files = set(folder.iterdir()) | {folder / "web.yml"}
    with tls_server(folder, f"{FILES}, {VERIFY}") as port:
        assert set(folder.iterdir()) == files
        assert status(port, client(folder, issue(CA, usage=CLIENT))) == 200


def test_an_absolute_path_is_not_relative_to_the_configuration(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cert, key = SERVER_CERTIFICATE.write(tmp_path_factory.mktemp("elsewhere"), "a")
    with tls_server(folder, f"cert_file: {cert}, key_file: {key}") as port:
        assert status(port, client(folder)) == 200


def test_the_chain_is_sent_to_the_client(folder: Path) -> None:
    intermediate = authority("intermediate", CA)
    leaf = issue(intermediate)
    (folder / "server.key").write_bytes(leaf.key)
    (folder / "server.crt").write_bytes(leaf.cert)
    with tls_server(folder, FILES) as port, pytest.raises(ssl.SSLCertVerificationError):
        status(port, client(folder))
    (folder / "server.crt").write_bytes(leaf.cert + intermediate.cert)
    with tls_server(folder, FILES) as port:
        assert status(port, client(folder)) == 200


@pytest.mark.parametrize(
    ("settings", "accepted"),
    [
        ("", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
        ("min_version: TLS12, max_version: TLS13", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]),
        ("min_version: TLS13", [ssl.TLSVersion.TLSv1_3]),
        ("max_version: TLS12", [ssl.TLSVersion.TLSv1_2]),
        ("cipher_suites: [TLS_AES_128_GCM_SHA256]", [ssl.TLSVersion.TLSv1_3]),
    ],
)
def test_versions(folder: Path, settings: str, accepted: list[ssl.TLSVersion]) -> None:
    with tls_server(folder, f"{FILES}, {settings}") as port:
        for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = pinned(client(folder), version)
            context.set_ciphers("ALL:@SECLEVEL=0")  # TLS 1.1 needs it
            if version in accepted:
                assert status(port, context) == 200
            else:
                with refused_by_server():
                    status(port, context)


AES_128, AES_256 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384"
SUITES = "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]"


@pytest.mark.parametrize(
    ("settings", "offered", "chosen"),
    [
        (SUITES, [AES_128], AES_128),
        (SUITES, [AES_128, AES_256], AES_256),
        (f"{SUITES}, prefer_server_cipher_suites: true", [AES_128, AES_256], AES_256),
        (f"{SUITES}, prefer_server_cipher_suites: false", [AES_128, AES_256], AES_128),
        ("cipher_suites: []", [AES_128], AES_128),
        (
            "cipher_suites: [TLS_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256]",
            [AES_256, "ECDHE-ECDSA-CHACHA20-POLY1305"],
            "ECDHE-ECDSA-CHACHA20-POLY1305",
        ),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA]", ["ECDHE-ECDSA-AES128-SHA"], "ECDHE-ECDSA-AES128-SHA"),
    ],
)
def test_cipher_suites_of_tls_1_2(folder: Path, settings: str, offered: list[str], chosen: str) -> None:
    context = pinned(client(folder), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers(":".join(offered))
    with tls_server(folder, f"{FILES}, {settings}") as port, connect(port, context) as connection:
        cipher = connection.cipher()
        assert cipher
        assert cipher[0] == chosen


@pytest.mark.parametrize("settings", ["", "cipher_suites: []"])
def test_only_authenticated_encryption_is_enabled_by_default(folder: Path, settings: str) -> None:
    with tls_server(folder, f"{FILES}, {settings}") as port:
        for suite, accepted in (("AES256-GCM-SHA384", True), ("CHACHA20-POLY1305", True), ("AES128-SHA256", False)):
            context = pinned(client(folder), ssl.TLSVersion.TLSv1_2)
            context.set_ciphers(f"ECDHE-ECDSA-{suite}")
            if accepted:
                assert status(port, context) == 200
            else:
                with refused_by_server():
                    status(port, context)


def test_no_common_cipher_suite(folder: Path) -> None:
    context = pinned(client(folder), ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
    with tls_server(folder, f"{FILES}, {SUITES}") as port, refused_by_server():
        status(port, context)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("name", ["CurveP256", "CurveP384", "CurveP521", "X25519"])
def test_one_curve(folder: Path, name: str, version: ssl.TLSVersion) -> None:
    only_p256 = pinned(client(folder), version)
    only_p256.set_ecdh_curve("prime256v1")
    with tls_server(folder, f"{FILES}, curve_preferences: [{name}]") as port:
        assert status(port, pinned(client(folder), version)) == 200
        if name == "CurveP256":
            assert status(port, only_p256) == 200
        else:
            with refused_by_server():
                status(port, only_p256)


def test_a_client_that_prefers_http_2_gets_http_1_1(folder: Path) -> None:
    context = client(folder)
    context.set_alpn_protocols(["h2", "http/1.1"])
    with tls_server(folder, FILES) as port, connect(port, context) as connection:
        assert connection.selected_alpn_protocol() == "http/1.1"
        assert status_on(connection) == 200


CERTIFICATES: dict[str, Callable[[], Certificate | None]] = {
    "none": lambda: None,
    "valid": lambda: issue(CA, usage=CLIENT),
    "of another CA": lambda: issue(OTHER_CA, usage=CLIENT),
    "of a CA of the same name": lambda: issue(authority("CA"), usage=CLIENT),
    "expired": lambda: issue(CA, usage=CLIENT, valid=(-2 * DAY, -DAY)),
    "not yet valid": lambda: issue(CA, usage=CLIENT, valid=(DAY, 2 * DAY)),
    "of a server": lambda: issue(CA, usage=SERVER),
}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("policy", "accepted"),
    [
        ("NoClientCert", set(CERTIFICATES)),
        ("VerifyClientCertIfGiven", {"none", "valid"}),
        ("RequireAndVerifyClientCert", {"valid"}),
    ],
)
def test_client_certificates(folder: Path, policy: str, accepted: set[str], version: ssl.TLSVersion) -> None:
    ca = "" if policy == "NoClientCert" else ", client_ca_file: ca.crt"
    application, found = Application(), set()
    with tls_server(folder, f"{FILES}, client_auth_type: {policy}{ca}", application) as port:
        for name, certificate in CERTIFICATES.items():
            try:
                assert status(port, pinned(client(folder, certificate()), version)) == 200
                found.add(name)
            except REFUSED:
                pass
    assert found == accepted
    assert application.requests == len(accepted)


def test_an_intermediate_authority_may_be_trusted_alone(folder: Path) -> None:
    """As in Go, and no certificate of its issuer is accepted then."""
    intermediate = authority("intermediate", OTHER_CA)
    (folder / "ca.crt").write_bytes(intermediate.cert)
    with tls_server(folder, f"{FILES}, {VERIFY}") as port:
        assert status(port, client(folder, issue(intermediate, usage=CLIENT))) == 200
        with refused_by_server():
            status(port, client(folder, issue(OTHER_CA, usage=CLIENT)))


NAMES = (
    x509.DNSName("prometheus.example.com"),
    x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    x509.IPAddress(ipaddress.ip_address("2001:db8::1")),
    x509.RFC822Name("alice@example.com"),
    x509.UniformResourceIdentifier("spiffe://example.com/prometheus"),
)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("policy", ["VerifyClientCertIfGiven", "RequireAndVerifyClientCert"])
@pytest.mark.parametrize(
    ("allowed", "accepted"),
    [
        ("prometheus.example.com", True),
        ("192.0.2.1", True),
        ("'::ffff:192.0.2.1'", True),
        ("2001:db8::1", True),
        ("2001:0DB8:0:0:0:0:0:1", True),
        ("alice@example.com", True),
        ("spiffe://example.com/prometheus", True),
        ("bad, other, prometheus.example.com", True),
        ("bad", False),
        ("leaf", False),  # the common name
        ("example.com", False),
        ("PROMETHEUS.example.com", False),
        ("'*.example.com'", False),
        ("192.0.2.2", False),
        ("2001:db8::2", False),
        ("spiffe://example.com/", False),
    ],
)
def test_allowed_names_of_clients(
    folder: Path, allowed: str, accepted: bool, policy: str, version: ssl.TLSVersion
) -> None:
    application = Application()
    settings = f"{FILES}, client_ca_file: ca.crt, client_auth_type: {policy}, client_allowed_sans: [{allowed}]"
    with tls_server(folder, settings, application) as port:
        context = pinned(client(folder, issue(CA, NAMES, usage=CLIENT)), version)
        if accepted:
            assert status(port, context) == 200
        else:
            with refused_by_server():
                status(port, context)
        for certificate in (issue(CA, (), usage=CLIENT), issue(CA, LOCALHOST, usage=CLIENT)):
            with refused_by_server():
                status(port, pinned(client(folder, certificate), version))
    assert application.requests == accepted


@pytest.mark.parametrize(
    ("certificate", "reason"),
    [
        (lambda: None, "PEER_DID_NOT_RETURN_A_CERTIFICATE"),
        (lambda: issue(CA, NAMES, usage=CLIENT, valid=(-2 * DAY, -DAY)), "certificate has expired"),
        (lambda: issue(OTHER_CA, NAMES, usage=CLIENT), "unable to get local issuer certificate"),
        (lambda: issue(CA, LOCALHOST, usage=CLIENT), "no allowed subject alternative name"),
    ],
)
def test_the_log_says_why_a_client_was_refused(
    folder: Path, certificate: Callable[[], Certificate | None], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = f"{FILES}, {VERIFY}, client_allowed_sans: [alice@example.com]"
    with tls_server(folder, settings) as port, refused_by_server():
        status(port, client(folder, certificate()))
    assert [vars(record)["reason"] for record in caplog.records] == [f"TLS handshake failed: {reason}"]


def test_a_resumed_session_has_its_certificate(folder: Path) -> None:
    context = pinned(client(folder, issue(CA, NAMES, usage=CLIENT)), ssl.TLSVersion.TLSv1_2)
    with tls_server(folder, f"{FILES}, {VERIFY}, client_allowed_sans: [alice@example.com]") as port:
        with connect(port, context) as connection:
            assert status_on(connection) == 200
            session = connection.session
        with connect(port, context, session) as connection:
            assert status_on(connection) == 200
            assert connection.session_reused
