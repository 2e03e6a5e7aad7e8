"""The exporter and Prometheus as processes that listen on free loopback ports."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support import forked_command
from tests.support.builders import eventually


@dataclass
class Response:
    """The response to an HTTP request."""

    status: int
    text: str
    headers: dict[str, str]


def fetch(url: str, method: str = "GET", **headers: str) -> Response:
    """Send an HTTP request. An error status is a response too."""
    named_headers = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers=named_headers)  # noqa: S310 (http on loopback)
    try:
        with urllib.request.urlopen(request, timeout=20) as response:  # noqa: S310 (http on loopback)
            return Response(response.status, response.read().decode(errors="replace"), dict(response.headers))
    except urllib.error.HTTPError as error:
        return Response(error.code, error.read().decode(), dict(error.headers))


def free_port() -> int:
    """A loopback port that was free at the time of the call."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass
class Running:
    """An exporter that runs as a process."""

    process: subprocess.Popen[str]
    log: Path
    url: str

    def stderr(self) -> str:
        """Everything written to stderr so far."""
        return self.log.read_text()

    def metric(self, name: str, **labels: str) -> float | None:
        """The value of the first matching series in `/metrics`; None if there is none."""
        for line in fetch(f"{self.url}metrics").text.splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = 10) -> tuple[int, float]:
        """Wait for the end of the process; its exit code and the seconds it took."""
        start = time.monotonic()
        return self.process.wait(timeout), time.monotonic() - start


COMMAND = [sys.executable, "-m", "exporter"]


@contextlib.contextmanager
def exporter(*arguments: str, log: Path, **environment: str) -> Iterator[Running]:
    """Run the exporter on a free loopback port until the block ends."""
    port = free_port()
    command = [*COMMAND, *arguments, f"--web.listen-address=127.0.0.1:{port}"]
    with log.open("w") as out:
        process = subprocess.Popen(
            command, stderr=out, stdout=subprocess.DEVNULL, text=True, env={**os.environ, **environment}
        )
    running = Running(process, log, f"http://127.0.0.1:{port}/")
    try:
        yield running
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


ROOT_ADVICE = ["Unneeded privileges:", "  the process runs as root; run it as another user, which needs no privileges"]


def lines_of(text: str) -> list[str]:
    """The lines of what `status` printed, without blank ones and the advice for who runs the tests as root."""
    advice = ROOT_ADVICE if os.geteuid() == 0 else []
    return [line for line in text.splitlines() if line and line not in advice]


def is_up(url: str) -> bool:
    """Whether the URL returns 200."""
    try:
        return fetch(url).status == 200
    except OSError:
        return False


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the exporter until it ends."""
    env = {**os.environ, "NO_COLOR": "1", **environment}
    if any(name.startswith("PYTHON") for name in environment):  # read by the interpreter when it starts
        command = [*COMMAND, *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=env, check=False)
    return forked_command.run(arguments, env)


@contextlib.contextmanager
def prometheus(target: str, folder: Path, scrape_every: str = "1s", **more: object) -> Iterator[str]:
    """Run a Prometheus that scrapes one target; its URL. `more` is added to its configuration."""
    host = re.sub(r"^http://|/$", "", target)
    config = {
        "global": {"scrape_interval": scrape_every, "scrape_timeout": scrape_every, "evaluation_interval": "1s"},
        "scrape_configs": [{"job_name": "cloudsql-backup", "static_configs": [{"targets": [host]}]}],
        **more,
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "prometheus.yml").write_text(json.dumps(config))
    url = f"http://127.0.0.1:{free_port()}/"
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={url.removeprefix('http://').removesuffix('/')}",
    ]
    with (folder / "prometheus.log").open("w") as out:
        process = subprocess.Popen(command, stderr=out, stdout=out)
    try:
        assert eventually(lambda: is_up(f"{url}-/ready")), (folder / "prometheus.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(10)


@contextlib.contextmanager
def reverse_proxy(location: str, target: str, folder: Path) -> Iterator[str]:
    """Run nginx, which passes requests for a path on to a URL; its own URL."""
    folder.mkdir()
    port = free_port()
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; user root;
        events {{}}
        http {{ access_log off;
          client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
          uwsgi_temp_path {folder}; scgi_temp_path {folder};
          server {{ listen 127.0.0.1:{port}; location {location} {{ proxy_pass {target}; }} }} }}"""
    )
    command = ["nginx", "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command)
    try:
        assert eventually(lambda: listens(port)), (folder / "error.log").read_text()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def listens(port: int) -> bool:
    """Whether a process listens on a loopback port."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def query(prometheus_url: str, expression: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    quoted = urllib.parse.quote(expression)
    response = json.loads(fetch(f"{prometheus_url}api/v1/query?query={quoted}").text)
    assert response["status"] == "success", response
    result: list[dict[str, Any]] = response["data"]["result"]
    return result
