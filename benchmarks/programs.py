"""The programs that are compared, on free ports of loopback, each ended again: ours, and what people use today."""

import contextlib
import gzip
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

EXPORTER = [sys.executable, "-m", "exporter"]


def free_port() -> int:
    """A port of loopback that nobody listened on a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """Ask over HTTP; raises OSError for anything but success."""
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 (http on loopback)
    with urllib.request.urlopen(request, timeout=600) as reply:  # noqa: S310 (http on loopback)
        answer: bytes = reply.read()
        return answer


@dataclass
class Server:
    """A program that serves."""

    process: subprocess.Popen[bytes]
    url: str
    started: float

    def memory(self) -> int:
        """Resident memory now, in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak_memory(self) -> int:
        """The most resident memory so far, in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextlib.contextmanager
def served(command: list[str], port: int, ready: str, seconds: float = 900) -> Iterator[Server]:
    """Run a program until the block ends; it is there once the path `ready` answers."""
    url, began = f"http://127.0.0.1:{port}/", time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 (fixed)
    try:
        while not answers(url + ready):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} ended with {process.returncode}: {' '.join(command)}")
            if time.monotonic() - began > seconds:
                raise RuntimeError(f"{command[0]} is not ready after {seconds:g} s: {' '.join(command)}")
            time.sleep(0.005)
        yield Server(process, url, began)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Whether an address answers 200."""
    try:
        fetch(url)
    except (OSError, urllib.error.URLError):
        return False
    return True


@contextlib.contextmanager
def simulator(instances: int, projects: int) -> Iterator[Server]:
    """The simulated Admin API, standing still."""
    port = free_port()
    world, address = f"--world=fleet:{instances}:{projects}", f"--web.listen-address=127.0.0.1:{port}"
    with served([*EXPORTER, "simulate", world, "--speed=0", address], port, "simulator/faults") as server:
        yield server


def configured(folder: Path, endpoint: str, interval: str) -> Path:
    """A configuration file for a simulated API, which is JSON and so YAML."""
    file = folder / "config.yaml"
    settings = {
        "cloudsql": {"endpoint": endpoint, "credentials": "anonymous", "requests_per_minute": 60_000},
        "targets": [{"search": "state:ACTIVE"}],
        "poll": {"interval": interval, "stale_after": "1d"},
        "state": {"path": str(folder / "state")},
    }
    file.write_text(json.dumps(settings), encoding="utf-8")
    return file


@contextlib.contextmanager
def exporter(config: Path) -> Iterator[Server]:
    """Ours."""
    port = free_port()
    flags = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]
    with served([*EXPORTER, *flags, "--log.level=error"], port, "-/ready") as server:
        yield server


@contextlib.contextmanager
def node_exporter(exposition: Path) -> Iterator[str]:
    """node_exporter with nothing but its textfile collector; the address of its metrics."""
    port = free_port()
    flags = [
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={exposition.parent}",
    ]
    address = f"--web.listen-address=127.0.0.1:{port}"
    with served(["prometheus-node-exporter", *flags, "--web.disable-exporter-metrics", address], port, "") as server:
        yield f"{server.url}metrics"


@contextlib.contextmanager
def pushgateway(exposition: Path) -> Iterator[str]:
    """A Pushgateway that was pushed the exposition; the address of its metrics."""
    port = free_port()
    with served(["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"], port, "-/ready") as server:
        fetch(f"{server.url}metrics/job/bench", "PUT", exposition.read_bytes())
        yield f"{server.url}metrics"


@contextlib.contextmanager
def nginx(exposition: Path, folder: Path) -> Iterator[str]:
    """Nginx with the exposition as a file, and beside it the same compressed; its address."""
    port = free_port()
    root = folder / "nginx"
    root.mkdir(exist_ok=True)
    (root / "metrics").write_bytes(exposition.read_bytes())
    (root / "metrics.gz").write_bytes(gzip.compress(exposition.read_bytes(), 1))
    config = root / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; user root;
        events {{}}
        http {{ access_log off; sendfile on; tcp_nopush on;
          client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root}; uwsgi_temp_path {root};
          scgi_temp_path {root};
          server {{ listen 127.0.0.1:{port}; root {root}; default_type text/plain; gzip_static on; }} }}""",
        encoding="utf-8",
    )
    with served(["nginx", "-c", str(config), "-e", f"{root}/error.log"], port, "metrics") as server:
        yield f"{server.url}metrics"
