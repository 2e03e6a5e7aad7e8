"""Context managers that run the exporter, the simulated API and the peers on free loopback ports."""

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
from urllib.parse import urlsplit

EXPORTER = [sys.executable, "-m", "exporter"]


def free_port() -> int:
    """Return a loopback port that is currently free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def fetch(url: str, method: str = "GET", body: bytes | None = None) -> bytes:
    """Send an HTTP request and return the body. Raises OSError unless it succeeds."""
    request = urllib.request.Request(url, data=body, method=method)  # noqa: S310 (http on loopback)
    with urllib.request.urlopen(request, timeout=600) as response:  # noqa: S310 (http on loopback)
        content: bytes = response.read()
        return content


@dataclass
class Server:
    """A running server process."""

    process: subprocess.Popen[bytes]
    url: str
    started: float  # by time.monotonic()

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far."""
        return time.clock_gettime(~self.process.pid << 3 | 2)  # the clock of clock_getcpuclockid(3) on Linux

    def memory(self) -> int:
        """Return the resident memory in bytes."""
        pages = Path(f"/proc/{self.process.pid}/statm").read_text(encoding="ascii").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def peak_memory(self) -> int:
        """Return the peak resident memory in bytes."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@contextlib.contextmanager
def run_server(command: list[str], port: int, ready: str, seconds: float = 900) -> Iterator[Server]:
    """Run a program for the duration of the block, which starts when the path `ready` responds with success."""
    url, started = f"http://127.0.0.1:{port}/", time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603 (a fixed command, without input from outside)
    try:
        while not is_up(url + ready):
            if process.poll() is not None:
                raise RuntimeError(f"{command[0]} exited with status {process.returncode}: {' '.join(command)}")
            if time.monotonic() - started > seconds:
                raise RuntimeError(f"{command[0]} is not ready after {seconds:g} s: {' '.join(command)}")
            time.sleep(0.005)
        yield Server(process, url, started)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def is_up(url: str) -> bool:
    """Whether a URL responds with success."""
    try:
        fetch(url)
    except (OSError, urllib.error.URLError):
        return False
    return True


@contextlib.contextmanager
def simulator(instances: int, projects: int) -> Iterator[Server]:
    """Run the simulated Admin API with a stopped clock."""
    port = free_port()
    world, address = f"--world=fleet:{instances}:{projects}", f"--web.listen-address=127.0.0.1:{port}"
    with run_server([*EXPORTER, "simulate", world, "--speed=0", address], port, "simulator/faults") as server:
        yield server


def write_config(folder: Path, endpoint: str, interval: str) -> Path:
    """Write a configuration file for the simulated API, in JSON, which is valid YAML."""
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
    """Run the exporter."""
    port = free_port()
    flags = [f"--config.file={config}", f"--web.listen-address=127.0.0.1:{port}", "--web.enable-lifecycle"]
    with run_server([*EXPORTER, *flags, "--log.level=error"], port, "-/ready") as server:
        yield server


@contextlib.contextmanager
def prometheus(url: str, interval: float, folder: Path) -> Iterator[Server]:
    """Run a Prometheus that scrapes one URL."""
    port, target = free_port(), urlsplit(url)
    folder.mkdir()
    scrape = {"scrape_interval": f"{interval * 1000:.0f}ms", "scrape_timeout": f"{interval * 1000:.0f}ms"}
    job = {"job_name": "bench", "metrics_path": target.path, "static_configs": [{"targets": [target.netloc]}]}
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"global": scrape, "scrape_configs": [job]}), encoding="utf-8")
    flags = [f"--config.file={config}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address=127.0.0.1:{port}"]
    with run_server(["prometheus", *flags], port, "-/ready") as server:
        yield server


@contextlib.contextmanager
def client_library(exposition: Path) -> Iterator[str]:
    """Run the HTTP server of prometheus_client with the same samples; yields the URL of its metrics."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.client_library", str(exposition), str(port)]
    with run_server(command, port, "metrics") as server:
        yield f"{server.url}metrics"


@contextlib.contextmanager
def node_exporter(exposition: Path) -> Iterator[str]:
    """Run node_exporter with only its textfile collector; yields the URL of its metrics."""
    port = free_port()
    flags = [
        "--collector.disable-defaults",
        "--collector.textfile",
        f"--collector.textfile.directory={exposition.parent}",
    ]
    address = f"--web.listen-address=127.0.0.1:{port}"
    with run_server(
        ["prometheus-node-exporter", *flags, "--web.disable-exporter-metrics", address], port, ""
    ) as server:
        yield f"{server.url}metrics"


@contextlib.contextmanager
def pushgateway(exposition: Path) -> Iterator[str]:
    """Run a Pushgateway and push the exposition to it; yields the URL of its metrics."""
    port = free_port()
    with run_server(["prometheus-pushgateway", f"--web.listen-address=127.0.0.1:{port}"], port, "-/ready") as server:
        fetch(f"{server.url}metrics/job/bench", "PUT", exposition.read_bytes())
        yield f"{server.url}metrics"


@contextlib.contextmanager
def nginx(exposition: Path, folder: Path) -> Iterator[str]:
    """Run nginx with the exposition as a file, plain and compressed; yields its URL."""
    port = free_port()
    root = folder / "nginx"
    root.mkdir(exist_ok=True)
    (root / "metrics").write_bytes(exposition.read_bytes())
    (root / "metrics.gz").write_bytes(gzip.compress(exposition.read_bytes(), 1))
    config = root / "nginx.conf"
    config.write_text(
        f"""daemon off; pid {root}/pid; error_log {root}/error.log; worker_processes 1; user root;
        events {{}}
        http {{ access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
          client_body_temp_path {root}; proxy_temp_path {root}; fastcgi_temp_path {root}; uwsgi_temp_path {root};
          scgi_temp_path {root};
          server {{ listen 127.0.0.1:{port}; root {root}; default_type text/plain; gzip_static on; }} }}""",
        encoding="utf-8",
    )
    with run_server(["nginx", "-c", str(config), "-e", f"{root}/error.log"], port, "metrics") as server:
        yield f"{server.url}metrics"
