"""The command `healthcheck`, against servers in this process."""

import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from exporter.cli import flags, healthcheck
from exporter.cli.main import main
from tests.support.certificates import authority, issue
from tests.support.processes import free_port
from tests.support.web import port, respond, serving

Output = pytest.CaptureFixture[str]


def answering(status: int, body: bytes = b"", path: str = "/-/healthy") -> ASGIApp:
    """An application that answers one path, and others with 404."""

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        await (respond(send, body, status) if scope["path"] == path else respond(send, b"Not Found", 404))

    return app


def check(url: str, capsys: Output) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    code = main(["healthcheck", f"--url={url}"])
    return code, *capsys.readouterr()


@contextmanager
def raw_server(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that passes its first connection to a function; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                handle(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        thread.join(20)


def test_the_response_cannot_control_a_terminal(capsys: Output) -> None:
    with serving(answering(200, b"\x1b[31mhealthy\n")) as server:
        assert check(f"http://127.0.0.1:{port(server)}", capsys) == (0, "?[31mhealthy\n", "")


@pytest.mark.parametrize("suffix", ["", "/", "/-/healthy"])
@pytest.mark.parametrize("prefix", ["", "/cloud/backups"])
def test_a_healthy_exporter_exits_with_0(prefix: str, suffix: str, capsys: Output) -> None:
    with serving(answering(200, b"healthy\n", f"{prefix}/-/healthy")) as server:
        url = f"http://127.0.0.1:{port(server)}{prefix}{suffix}"
        assert check(url, capsys) == (0, "healthy\n", "")


def test_the_default_is_the_default_address_of_serve(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    urls: list[str] = []

    def get(url: str) -> tuple[int, str]:
        urls.append(url)
        return 200, "healthy"

    monkeypatch.setattr(healthcheck, "_get", get)
    assert (main(["healthcheck"]), urls) == (0, ["http://127.0.0.1:10853/-/healthy"])
    assert capsys.readouterr().out == "healthy\n"


def test_a_stuck_exporter_exits_with_1_and_its_reason(capsys: Output) -> None:
    with serving(answering(503, b"the poll loop is stuck\n")) as server:
        url = f"http://127.0.0.1:{port(server)}"
        assert check(url, capsys) == (1, "", f"error: {url}/-/healthy: 503 the poll loop is stuck\n")


@pytest.mark.parametrize(
    ("status", "body", "text"),
    [
        (401, b"Unauthorized\n", "401 Unauthorized"),
        (404, b"", "404 Not Found"),
        (302, b"elsewhere", "302 elsewhere"),  # not followed
        (500, b"\x1b[31mred\xff\nmore", "500 ?[31mred\ufffd"),
    ],
)
def test_another_status_exits_with_1_and_advice(status: int, body: bytes, text: str, capsys: Output) -> None:
    with serving(answering(status, body)) as server:
        url = f"http://127.0.0.1:{port(server)}"
        assert check(url, capsys) == (1, "", f"error: {url}/-/healthy: {text}; {healthcheck.HINT}\n")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{port}", "Connection refused"),
        ("https://127.0.0.1:{port}", "Connection refused"),
        ("http://no.such.host.invalid:{port}", "not known|failure in name resolution|No address"),
        (f"http://{'x' * 64}.example:{{port}}", "not a valid host name"),
    ],
)
def test_an_unreachable_exporter_exits_with_1_and_one_line(url: str, reason: str, capsys: Output) -> None:
    url = url.format(port=free_port())
    code, out, errors = check(url, capsys)
    assert (code, out, errors.count("\n")) == (1, "", 1)
    assert errors.startswith(f"error: {url}/-/healthy: ")
    assert any(text in errors for text in reason.split("|")), errors
    assert errors.endswith(f"; {healthcheck.HINT}\n")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (b"", "the connection was closed without a response"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "the response is not HTTP"),  # a TLS alert
    ],
)
def test_a_bad_response_is_described(response: bytes, reason: str, capsys: Output) -> None:
    with raw_server(lambda connection: connection.sendall(response)) as url:
        code, _, errors = check(url, capsys)
    assert (code, errors) == (1, f"error: {url}/-/healthy: {reason}; {healthcheck.HINT}\n")


def test_an_exporter_that_does_not_answer_exits_with_1(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setattr(healthcheck, "TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        start = time.monotonic()
        code, _, errors = check(url, capsys)
    assert time.monotonic() - start < 20
    assert (code, errors) == (1, f"error: {url}/-/healthy: no response within 0.1 s; {healthcheck.HINT}\n")


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serving(answering(200, b"healthy\n")) as server:
        assert check(f"http://localhost:{port(server)}", capsys)[0] == 0


def test_certificates_are_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    ca = authority()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*issue(ca).write(tmp_path, "server"))
    with serving(answering(200, b"healthy\n"), tls_context=lambda: context) as server:
        url = f"https://localhost:{port(server)}"
        code, _, errors = check(url, capsys)
        assert (code, f"error: {url}/-/healthy: TLS failed: unable to get local issuer certificate" in errors) == (
            1,
            True,
        )
        monkeypatch.setenv("SSL_CERT_FILE", str(ca.write(tmp_path, "ca")[0]))
        assert check(url, capsys) == (0, "healthy\n", "")
        assert check(f"http://localhost:{port(server)}", capsys)[0] == 1


def test_little_is_imported() -> None:
    """Container engines run the command twice a minute."""
    arguments = ["healthcheck", "--url=http://127.0.0.1:1"]
    program = f"import sys; from exporter.cli.main import main; main({arguments}); print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603 (fixed)
    modules = set(result.stdout.split())
    assert {"exporter.cli.healthcheck", "http.client"} <= modules
    assert not {"exporter.cli.flags", "exporter.config", "googleapiclient", "pydantic", "uvicorn"} & modules


def test_help_is_that_of_the_complete_parser(monkeypatch: pytest.MonkeyPatch, capsys: Output) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for parse in (flags.parse_flags, main):
        with pytest.raises(SystemExit):
            parse(["healthcheck", "--help"])
    text = capsys.readouterr().out
    assert text == 2 * text[: len(text) // 2]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--url=127.0.0.1:10853"],
        ["--url=ftp://localhost"],
        ["--url=http://user:password@localhost"],
        ["--url=http://localhost/?x=1"],
        ["--url="],
        ["--url=http://local host"],
        ["--config.file=config.yaml"],
    ],
)
def test_an_invalid_flag_exits_with_2(arguments: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["healthcheck", *arguments])
    output = capsys.readouterr()
    assert (ended.value.code, output.out) == (2, "")
    assert arguments[0].partition("=")[0] in output.err
