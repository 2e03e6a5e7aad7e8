"""Reloading of the web configuration file: changes are seen by content, and what is broken changes nothing."""

import http.client
import logging
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import bcrypt
import pytest
from starlette.types import Receive, Scope, Send

from exporter.web.config import WebConfig, WebConfigError, WebConfigFile, file
from tests.support.builders import eventually
from tests.support.certificates import CLIENT, Certificate, authority, issue
from tests.support.web import port as port_of
from tests.support.web import serving

CA = authority()
HASH, OTHER_HASH = (bcrypt.hashpw(password, bcrypt.gensalt(4)).decode() for password in (b"a", b"b"))
USERS = f"basic_auth_users:\n  alice: {HASH}\n"
OTHER_USERS = USERS.replace(HASH, OTHER_HASH)
TLS = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n"
CLIENTS = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A web configuration file with certificates beside it."""
    issue(CA).write(tmp_path, "server")
    CA.write(tmp_path, "ca")
    path = tmp_path / "web.yml"
    path.write_text(USERS)
    return path


def check(web_config: WebConfigFile) -> bool:
    """Reload the file if it has changed, as the background thread does; whether it has."""
    changed = web_config.changed()
    if changed:
        web_config.reload()
    return changed


def replace(path: Path, content: str | bytes, *, age: int = 0) -> None:
    """Write a file again, with a modification time in the past."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    os.utime(path, (1_000_000_000 - age, 1_000_000_000 - age))


def test_a_file_that_cannot_be_loaded_at_the_start_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError):
        WebConfigFile(tmp_path / "none.yml")


def test_a_change_of_content_is_seen_whatever_the_time_and_size(path: Path) -> None:
    replace(path, USERS)
    web_config = WebConfigFile(path)
    assert not check(web_config)
    replace(path, OTHER_USERS)
    assert path.stat().st_size == len(USERS)
    assert check(web_config)
    assert web_config.current.users == {b"alice": OTHER_HASH.encode()}
    replace(path, USERS, age=1000)
    assert check(web_config)
    assert web_config.current.users == {b"alice": HASH.encode()}
    assert not check(web_config)


def test_a_new_time_or_inode_is_no_change(path: Path) -> None:
    web_config = WebConfigFile(path)
    path.touch()
    path.rename(path.with_suffix(".old"))
    path.write_text(USERS)
    assert not check(web_config)


@pytest.mark.parametrize("name", ["server.crt", "server.key", "ca.crt"])
def test_a_change_of_a_named_file_is_seen(path: Path, name: str) -> None:
    path.write_text(TLS + CLIENTS)
    web_config = WebConfigFile(path)
    before = web_config.tls_context()
    replace(path.parent / name, (path.parent / name).read_bytes() + b"\n")
    assert check(web_config)
    assert web_config.successful
    assert web_config.tls_context() is not before
    assert not check(web_config)


def test_a_swapped_symbolic_link_is_seen(tmp_path: Path) -> None:
    """Kubernetes replaces the link `..data` to the folder with the files of a secret."""
    for version, text in (("1", USERS), ("2", OTHER_USERS)):
        (tmp_path / version).mkdir()
        replace(tmp_path / version / "web.yml", text, age=int(version))
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "web.yml").symlink_to("..data/web.yml")
    web_config = WebConfigFile(tmp_path / "web.yml")
    (tmp_path / "..data_tmp").symlink_to("2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    assert check(web_config)
    assert web_config.current.users == {b"alice": OTHER_HASH.encode()}


def remove(path: Path) -> None:
    path.unlink()


def write(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write(""), "is empty; write {} for no settings"),
        (write("# nothing\n"), "is empty; write {} for no settings"),
        (write("basic_auth_users:\n"), "basic_auth_users: has no value; remove the key, or give it one"),
        (write("junk"), "must be a mapping of keys to values"),
        (write("a: b: c"), "is not YAML"),
        (write(USERS[:-10]), "basic_auth_users.alice: is not a bcrypt hash"),
        (write(USERS + "unknown: 1\n"), "unknown: unknown key"),
        (remove, "cannot be read: No such file or directory"),
    ],
)
def test_a_damaged_file_changes_nothing_and_is_logged_once(
    path: Path, damage: Callable[[Path], object], message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    web_config = WebConfigFile(path)
    before = web_config.current
    damage(path)
    assert [check(web_config) for _ in range(3)] == [True, False, False]
    assert web_config.current is before
    assert not web_config.successful
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.message.startswith("web configuration not reloaded, the current one stays in force: ")
    assert message in record.message
    assert str(path) in record.message
    path.write_text(USERS)
    assert check(web_config)
    assert web_config.successful
    assert web_config.current == before
    assert caplog.messages[1:] == ["web configuration reloaded"]


@pytest.mark.parametrize("text", [USERS.rstrip(), TLS.rstrip()], ids=["users", "TLS"])
def test_a_file_cut_within_a_section_changes_nothing(path: Path, text: str) -> None:
    path.write_text(text)
    web_config = WebConfigFile(path)
    before = web_config.current
    for length in range(len(text)):
        path.write_text(text[:length])
        assert check(web_config)
        assert (web_config.current, web_config.successful) == (before, False)


@pytest.mark.parametrize("name", ["server.crt", "server.key", "ca.crt"])
@pytest.mark.parametrize("content", [None, b"", b"junk", b"half"])
def test_a_damaged_certificate_or_key_changes_nothing(path: Path, name: str, content: bytes | None) -> None:
    path.write_text(TLS + CLIENTS)
    web_config = WebConfigFile(path)
    before = web_config.current
    damaged = path.parent / name
    sound = damaged.read_bytes()
    if content is None:
        damaged.unlink()
    else:
        damaged.write_bytes(sound[: len(sound) // 2] if content == b"half" else content)
    assert [check(web_config) for _ in range(2)] == [True, False]
    assert web_config.current is before
    assert not web_config.successful
    damaged.write_bytes(sound)
    assert check(web_config)
    assert web_config.successful


def test_a_certificate_that_is_replaced_before_its_key_is_used_with_it(path: Path) -> None:
    path.write_text(TLS)
    web_config = WebConfigFile(path)
    before = web_config.current
    new = issue(CA)
    (path.parent / "server.crt").write_bytes(new.cert)
    check(web_config)
    assert (web_config.current, web_config.successful) == (before, False)
    (path.parent / "server.key").write_bytes(new.key)
    check(web_config)
    assert (web_config.current != before, web_config.successful) == (True, True)


def test_less_security_is_logged_as_a_warning(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    path.write_text(TLS + USERS)
    web_config = WebConfigFile(path)
    path.write_text("{}")
    check(web_config)
    assert web_config.current == WebConfig()
    assert [(record.levelname, record.message) for record in caplog.records] == [
        ("INFO", "web configuration reloaded"),
        ("WARNING", "TLS is switched off by the web configuration"),
        ("WARNING", "authentication is switched off by the web configuration"),
    ]


def test_secrets_are_not_logged(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = (path.parent / "server.key").read_text()
    web_config = WebConfigFile(path)
    inline = "".join(f"    {line}\n" for line in key.splitlines())
    for text in (TLS, TLS.replace("key_file: server.key", "key: |\n") + inline, USERS + "  bob: hunter2\n"):
        path.write_text(text)
        check(web_config)
    assert "bob" in caplog.text
    for secret in ("hunter2", HASH, key.splitlines()[1]):
        assert secret not in caplog.text


def test_the_background_thread_reloads_and_survives_errors(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(file, "CHECK_INTERVAL", 0.01)
    monkeypatch.setattr(file, "SETTLING_TIME", 0.01)
    errors = [RuntimeError("a bug")]

    def fail_once() -> None:
        if errors:
            raise errors.pop()

    web_config = WebConfigFile(path)
    web_config.start(fail_once)
    path.write_text(OTHER_USERS)
    assert eventually(lambda: "internal error, please report it" in caplog.messages)
    path.write_text(USERS)
    assert eventually(lambda: web_config.successful and web_config.current.users == {b"alice": HASH.encode()})
    web_config.stop()


async def ok(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@dataclass
class Client:
    """Sends requests until it is stopped: each on a new connection, or all on one."""

    port: int
    context: ssl.SSLContext
    reuse: bool
    errors: list[Exception] = field(default_factory=list)
    responses: int = 0
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send requests."""
        connection = http.client.HTTPSConnection("localhost", self.port, timeout=20, context=self.context)
        while not self.stopped.is_set():
            try:
                connection.request("GET", "/")
                with connection.getresponse() as response:
                    assert response.read() == b"ok"
                self.responses += 1
                if not self.reuse:
                    connection.close()
            except Exception as error:  # noqa: BLE001 (reported by the test)
                self.errors.append(error)
                connection.close()
        connection.close()


def served_certificate(port: int) -> str:
    return ssl.get_server_certificate(("127.0.0.1", port))


def test_certificates_are_replaced_without_a_dropped_scrape(path: Path) -> None:
    path.write_text(TLS)
    web_config = WebConfigFile(path)
    trusting = ssl.create_default_context(cadata=CA.cert.decode())
    with serving(ok, tls_context=web_config.tls_context) as server:
        port = port_of(server)
        clients = [Client(port, trusting, reuse) for reuse in (False, True)]
        threads = [threading.Thread(target=client.run) for client in clients]
        for thread in threads:
            thread.start()
        for _ in range(20):
            before = [client.responses for client in clients]
            certificate = issue(CA)
            certificate.write(path.parent, "server")
            check(web_config)
            path.write_text("junk")
            check(web_config)
            path.write_text(TLS)
            check(web_config)
            assert served_certificate(port).encode() == certificate.cert
            assert eventually(lambda: all(c.responses > n for c, n in zip(clients, before, strict=True)))  # noqa: B023
        for client, thread in zip(clients, threads, strict=True):
            client.stopped.set()
            thread.join()
    assert [client.errors for client in clients] == [[], []]


def test_tls_and_client_certificates_are_switched_on_and_off(path: Path) -> None:
    def get(certificate: Certificate | None = None, *, tls: bool = True) -> int | type[Exception]:
        context = ssl.create_default_context(cadata=CA.cert.decode())
        if certificate:
            context.load_cert_chain(*certificate.write(path.parent, "client"))
        connection = (
            http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
            if tls
            else http.client.HTTPConnection("localhost", port, timeout=20)
        )
        try:
            connection.request("GET", "/")
            with connection.getresponse() as response:
                return response.status
        except (OSError, http.client.HTTPException):
            return ConnectionError
        finally:
            connection.close()

    valid, other = issue(CA, usage=CLIENT), issue(authority("other"), usage=CLIENT)
    path.write_text("{}")
    web_config = WebConfigFile(path)
    with serving(ok, tls_context=web_config.tls_context) as server:
        port = port_of(server)
        assert [get(tls=False), get()] == [200, ConnectionError]
        path.write_text(TLS)
        check(web_config)
        assert [get(tls=False), get(), get(other)] == [ConnectionError, 200, 200]
        path.write_text(TLS + CLIENTS)
        check(web_config)
        assert [get(), get(other), get(valid)] == [ConnectionError, ConnectionError, 200]
        (path.parent / "ca.crt").write_bytes(authority("new").cert)
        check(web_config)
        assert get(valid) is ConnectionError
        path.write_text("{}")
        check(web_config)
        assert get(tls=False) == 200


def test_an_open_connection_ends_after_its_next_response_when_tls_settings_change(path: Path) -> None:
    """So that an authority or a name that was removed has no access for longer than that."""
    path.write_text(TLS)
    web_config = WebConfigFile(path)
    trusting = ssl.create_default_context(cadata=CA.cert.decode())
    with serving(ok, tls_context=web_config.tls_context) as server:
        connection = http.client.HTTPSConnection("localhost", port_of(server), timeout=20, context=trusting)

        def kept_open() -> bool:
            connection.request("GET", "/")
            with connection.getresponse() as response:
                assert response.read() == b"ok"
                return not response.will_close

        assert [kept_open(), kept_open()] == [True, True]
        issue(CA).write(path.parent, "server")
        check(web_config)
        assert [kept_open(), kept_open()] == [False, True]
        path.write_text(TLS + CLIENTS)
        check(web_config)
        assert not kept_open()
        with pytest.raises((OSError, http.client.HTTPException)):
            kept_open()
        connection.close()
