"""The real programs, started on free ports of loopback and ended again: the exporter as a process, and Prometheus."""

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

from tests.support.builders import eventually


@dataclass
class Answer:
    """What an HTTP request came to."""

    status: int
    text: str
    headers: dict[str, str]


def fetch(url: str, method: str = "GET", **headers: str) -> Answer:
    """Ask over HTTP; an error status is an answer too."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, method=method, headers=named)  # noqa: S310 (http on loopback)
    try:
        with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310 (http on loopback)
            return Answer(reply.status, reply.read().decode(errors="replace"), dict(reply.headers))
    except urllib.error.HTTPError as error:
        return Answer(error.code, error.read().decode(), dict(error.headers))


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


@dataclass
class Running:
    """The exporter as a process of its own."""

    process: subprocess.Popen[str]
    log: Path
    url: str

    def told(self) -> str:
        """What it wrote to stderr so far."""
        return self.log.read_text()

    def metric(self, name: str, **labels: str) -> float | None:
        """One sample of its `/metrics`; None where there is no such series."""
        for line in fetch(f"{self.url}metrics").text.splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                return float(line.rsplit(" ", 1)[1])
        return None

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def ended(self, seconds: float = 10) -> tuple[int, float]:
        """Exit code, and how long it took from now."""
        began = time.monotonic()
        return self.process.wait(seconds), time.monotonic() - began


COMMAND = [sys.executable, "-m", "exporter"]


@contextlib.contextmanager
def exporter(*arguments: str, log: Path, **environment: str) -> Iterator[Running]:
    """Run the exporter until the block ends; its first address is a free port of loopback."""
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


def is_up(url: str) -> bool:
    """Whether the address answers 200."""
    try:
        return fetch(url).status == 200
    except OSError:
        return False


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the exporter to its end."""
    env = {**os.environ, "NO_COLOR": "1", **environment}
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, env=env, check=False)


@contextlib.contextmanager
def prometheus(target: str, folder: Path, scrape_every: str = "1s", **more: object) -> Iterator[str]:
    """Debian's Prometheus, scraping one target; its URL. `more` goes into its configuration."""
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


def query(prometheus_url: str, expression: str) -> list[dict[str, Any]]:
    """The result of an instant query."""
    quoted = urllib.parse.quote(expression)
    answer = json.loads(fetch(f"{prometheus_url}api/v1/query?query={quoted}").text)
    assert answer["status"] == "success", answer
    result: list[dict[str, Any]] = answer["data"]["result"]
    return result
