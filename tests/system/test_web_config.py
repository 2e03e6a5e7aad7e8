"""The running exporter with a web configuration file: TLS, users, reload, and what it refuses at the start."""

import base64
import http.client
import os
import pty
import shutil
import ssl
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import bcrypt
import pytest

from tests.support.builders import eventually
from tests.support.certificates import CLIENT, Certificate, authority, issue
from tests.support.processes import COMMAND, Running, exporter, prometheus, query, run

CA = authority()
PASSWORD = "secret"  # noqa: S105 (of a test)
HASH = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
TLS = (
    "tls_server_config:\n"
    "  cert_file: server.crt\n"
    "  key_file: server.key\n"
    "  client_auth_type: RequireAndVerifyClientCert\n"
    "  client_ca_file: ca.crt\n"
    "  client_allowed_sans: [localhost]\n"
)
USERS = f"basic_auth_users:\n  prometheus: {HASH}\n"
SUCCESSFUL = "cloudsql_backup_exporter_config_last_reload_successful"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A web configuration file with certificates beside it."""
    issue(CA).write(tmp_path, "server")
    issue(CA, usage=CLIENT).write(tmp_path, "client")
    CA.write(tmp_path, "ca")
    path = tmp_path / "web.yml"
    path.write_text(TLS + USERS)
    return path


def get(running: Running, folder: Path, password: str | None = PASSWORD, target: str = "/metrics") -> tuple[int, str]:
    """Status and body of a response, with a client certificate."""
    context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    context.load_cert_chain(folder / "client.crt", folder / "client.key")
    headers = {} if password is None else {"Authorization": "Basic " + encoded(f"prometheus:{password}")}
    port = urlsplit(running.url).port
    connection = http.client.HTTPSConnection("localhost", port, timeout=20, context=context)
    try:
        connection.request("GET", target, headers=headers)
        with connection.getresponse() as response:
            return response.status, response.read().decode()
    finally:
        connection.close()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def is_up(running: Running, folder: Path) -> bool:
    try:
        return get(running, folder)[0] == 200
    except OSError:
        return False


def test_users_and_certificates_of_a_running_exporter(path: Path, tmp_path: Path) -> None:
    with exporter("demo", f"--web.config.file={path}", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(running, tmp_path)), running.stderr()
        assert f"https://127.0.0.1:{urlsplit(running.url).port}/" in running.stderr()
        for target in ("/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/status", "/none", "/-/reload"):
            assert get(running, tmp_path, None, target)[0] == 401
            assert get(running, tmp_path, "wrong", target)[0] == 401
        assert get(running, tmp_path, target="/-/healthy")[0] == 200

        def successful() -> bool:
            return f"{SUCCESSFUL} 1.0\n" in get(running, tmp_path)[1]

        assert successful()
        path.write_text(TLS)  # without the users
        assert eventually(lambda: get(running, tmp_path, None)[0] == 200)
        assert successful()
        for damaged in (b"", b"junk", (TLS + USERS[:-10]).encode()):
            path.write_bytes(damaged)
            assert eventually(lambda: not successful())
            assert get(running, tmp_path, None)[0] == 200
            path.write_text(TLS + USERS)
            assert eventually(lambda: get(running, tmp_path, None)[0] == 401)
            assert eventually(successful)
            path.write_text(TLS)
            assert eventually(lambda: get(running, tmp_path, None)[0] == 200)
        log = running.stderr()
        assert log.count("web configuration not reloaded, the current one stays in force") == 3
        assert HASH not in log
        assert "Traceback" not in log
        running.process.terminate()
        assert running.wait()[0] == 0


def test_prometheus_scrapes_with_certificate_and_password(path: Path, tmp_path: Path) -> None:
    with exporter("demo", f"--web.config.file={path}", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(running, tmp_path)), running.stderr()
        scrape = {
            "job_name": "cloudsql-backup",
            "scheme": "https",
            "static_configs": [{"targets": [urlsplit(running.url).netloc]}],
            "basic_auth": {"username": "prometheus", "password": PASSWORD},
            "tls_config": {
                "ca_file": str(tmp_path / "ca.crt"),
                "cert_file": str(tmp_path / "client.crt"),
                "key_file": str(tmp_path / "client.key"),
            },
        }
        with prometheus(running.url, tmp_path / "prometheus", scrape_configs=[scrape]) as url:
            assert eventually(lambda: [sample["value"][1] for sample in query(url, "up")] == ["1"])
            scraped = query(url, "count_over_time(up[1m])")[0]["value"][1]
            issue(CA).write(tmp_path, "server")
            path.write_text((TLS + USERS).replace(HASH, bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(5)).decode()))
            assert eventually(lambda: "web configuration reloaded" in running.stderr())
            assert eventually(lambda: int(query(url, "count_over_time(up[1m])")[0]["value"][1]) > int(scraped) + 3)
            assert query(url, "min_over_time(up[1m])")[0]["value"][1] == "1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "cannot be read: No such file or directory"),
        ("junk", "web.yml:1: must be a mapping of keys to values"),
        ("tls_server_config: {min_version: TLS12}", "web.yml:1: tls_server_config.min_version: has no effect"),
        (
            "tls_server_config:\n  cert_file: server.crt\n  key_file: none.key\n",
            "web.yml:3: tls_server_config.key_file: cannot read",
        ),
        (
            "tls_server_config:\n  cert_file: ca.crt\n  key_file: server.key\n",
            "web.yml:3: tls_server_config.key_file: is not the key of the certificate",
        ),
        ("basic_auth_users:\n  alice: hunter2\n", "web.yml:2: basic_auth_users.alice: is not a bcrypt hash"),
        ("rate_limit: {burts: 1}", "web.yml:1: rate_limit.burts: unknown key; did you mean burst?"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "demo"])
def test_a_refused_file_ends_the_start_with_2(command: str, path: Path, text: str | None, message: str) -> None:
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    config = path.parent / "config.yaml"
    config.write_text("targets: [{project: p}]\nstate: {path: null}\n")
    flags = [f"--config.file={config}"] if command == "serve" else []
    result = run(command, *flags, f"--web.config.file={path}", "--web.listen-address=127.0.0.1:0")
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr


def test_an_encrypted_key_is_refused_without_asking_for_a_password_on_the_terminal(path: Path) -> None:
    server: Certificate = issue(CA)
    server.write(path.parent, "server")
    (path.parent / "server.key").write_bytes(server.encrypted_key(b"password"))
    setsid = shutil.which("setsid")
    assert setsid
    controller, terminal = pty.openpty()
    command = [setsid, "--ctty", "--wait", *COMMAND, "demo", f"--web.config.file={path}"]
    try:
        result = subprocess.run(  # noqa: S603 (a fixed program)
            command, stdin=terminal, stdout=terminal, stderr=terminal, timeout=60, check=False
        )
        os.close(terminal)
        output = b""
        while chunk := _read(controller):
            output += chunk
    finally:
        os.close(controller)
    assert result.returncode == 2
    assert b"is encrypted, and the exporter has no password for it" in b" ".join(output.split())
    assert b"pass phrase" not in output


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 65536)
    except OSError:  # the terminal is closed
        return b""


def test_check_config_checks_the_web_configuration_file_as_well(path: Path) -> None:
    config = path.parent / "config.yaml"
    config.write_text("targets: [{project: p}]\n")
    flags = f"--config.file={config}", f"--web.config.file={path}"
    result = run("check-config", *flags)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == f"{config}: OK, 1 target, 0 policies\n{path}: OK, TLS, 1 user\n"
    assert run("check-config", flags[0], "--web.config.file=").stdout == f"{config}: OK, 1 target, 0 policies\n"
    config.write_text("target: []\n")
    path.write_text("basic_auth_user: {}\n")
    result = run("check-config", *flags)
    assert (result.returncode, result.stdout) == (2, "")
    assert [line.rsplit(": ", 1)[1] for line in result.stderr.splitlines()] == [
        "is required",
        "unknown key; did you mean targets?",
        "unknown key; did you mean basic_auth_users?",
    ]
