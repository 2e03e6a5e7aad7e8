"""The web server as a process: passed sockets, a reverse proxy, probes, and too few files."""

import os
import re
import resource
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import pytest

from tests.support.builders import eventually
from tests.support.processes import COMMAND, exporter, fetch, free_port, is_up, reverse_proxy, run
from tests.support.web import REQUEST, Client

# As systemd does: the socket becomes file descriptor 3, and LISTEN_PID is that of the program.
SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ["LISTEN_PID"] = str(os.getpid() + int(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[3:])
"""


@contextmanager
def activated(passed: socket.socket, *flags: str, pid_offset: int = 0) -> Iterator["subprocess.Popen[str]"]:
    """Run the demo with a socket that is passed to it."""
    command = [sys.executable, "-c", SYSTEMD, str(passed.fileno()), str(pid_offset), *COMMAND, "demo", *flags]
    environment = {**os.environ, "LISTEN_FDS": "1", "NO_COLOR": "1"}
    with subprocess.Popen(  # noqa: S603 (the exporter)
        [*command, "--web.systemd-socket", "--log.level=off"],
        env=environment,
        pass_fds=[passed.fileno()],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_socket_passed_by_systemd_is_served_and_the_listen_address_is_not() -> None:
    address = f"127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", 0)) as passed:
        url = f"http://127.0.0.1:{passed.getsockname()[1]}/"
        with Client(url) as early:  # before the exporter is started
            early.send(REQUEST)
            with activated(passed, f"--web.listen-address={address}"):
                assert early.reply().status == 200
                assert fetch(f"{url}-/healthy").text == "healthy\n"
                assert not is_up(f"http://{address}/-/healthy")
        with Client(url) as late:  # between two processes
            late.send(REQUEST)
            with activated(passed):
                assert late.reply().status == 200


@pytest.mark.parametrize("pid_offset", [-1, 1])
def test_a_socket_passed_to_another_process_is_not_used(pid_offset: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed, activated(passed, pid_offset=pid_offset) as process:
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, "no socket was passed to this process" in errors) == (1, True)


def test_without_a_passed_socket_the_exporter_ends_with_1_and_one_line() -> None:
    result = run("demo", "--web.systemd-socket", LISTEN_FDS="", LISTEN_PID="")
    problem = "--web.systemd-socket: no socket was passed to this process; start it from a .socket unit"
    assert (result.returncode, result.stderr) == (1, f"error: {problem}\n")


def test_a_passed_socket_that_does_not_listen_is_rejected() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as passed, activated(passed) as process:
        _, errors = process.communicate(timeout=20)
    problem = "file descriptor 3 is not a listening stream socket; use ListenStream= and Accept=no"
    assert (process.returncode, errors) == (1, f"error: --web.systemd-socket: {problem}\n")


def test_a_passed_unix_socket_is_served(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as passed:
        passed.bind(str(tmp_path / "socket"))
        passed.listen()
        with activated(passed), socket.socket(socket.AF_UNIX) as client:
            client.settimeout(20)
            client.connect(str(tmp_path / "socket"))
            client.sendall(b"GET /-/healthy HTTP/1.0\r\n\r\n")
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_reverse_proxy_serves_the_exporter_at_another_host_and_path(tmp_path: Path) -> None:
    probes = f"127.0.0.1:{free_port()}"
    flags = ["--web.external-url=https://monitoring.example/cloud/backups/", f"--web.health-address={probes}"]
    with exporter("demo", *flags, log=tmp_path / "log") as running, ExitStack() as stack:
        assert eventually(lambda: is_up(f"http://{probes}/-/ready"))
        proxy = stack.enter_context(reverse_proxy("/cloud/backups/", running.url[:-1], tmp_path / "nginx"))
        page = f"{proxy}/cloud/backups/"
        links = [unescape(link) for link in re.findall(r'href="([^"]+)"', fetch(page).text)]
        assert {"metrics", "api/v1/status"} <= set(links)
        assert [fetch(urljoin(page, link)).status for link in links] == [200] * len(links)
        assert "cloudsql_backup_protection{" in fetch(f"{page}metrics").text
        assert fetch(f"{proxy}/metrics").status == 404
        assert "<h1>Instances</h1>" in fetch(running.url).text  # redirected
        assert fetch(f"http://{probes}/cloud/backups/-/healthy").status == 404
        for url in (page, f"http://{probes}"):
            assert run("healthcheck", f"--url={url}").returncode == 0
        banner = running.stderr()
    assert f"Metrics              {running.url}cloud/backups/metrics" in banner


@pytest.mark.parametrize(
    "flag",
    [
        "--web.external-url=proxy.example",
        "--web.max-connections=0",
        "--web.health-address=9090",
        "--web.max-connections=x",
    ],
)
def test_an_invalid_web_flag_exits_with_2(flag: str) -> None:
    result = run("demo", flag)
    assert (result.returncode, f"error: argument {flag.partition('=')[0]}: " in result.stderr) == (2, True)


def test_a_health_address_in_use_is_reported_with_its_flag() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        result = run("demo", "--web.listen-address=127.0.0.1:0", f"--web.health-address={address}")
    reason = "another process listens there; stop it, or choose another port with --web.health-address"
    assert (result.returncode, result.stderr) == (1, f"error: cannot listen on {address}: {reason}\n")


def test_scrapes_are_served_when_there_are_too_few_files_for_all_connections(tmp_path: Path) -> None:
    with exporter("demo", log=tmp_path / "log") as running, ExitStack() as stack:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        pid = running.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        open_files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (open_files + 30, hard))
        for _ in range(200):
            stack.enter_context(Client(running.url)).send(b"GET /")
        assert fetch(f"{running.url}metrics").status == 200
        log = running.stderr()
    assert 'msg="cannot accept a connection" reason="Too many open files"' in log
    assert "Traceback" not in log
