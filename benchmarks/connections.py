"""What TLS and a password add to a scrape, next to node_exporter, and scrapes during an attack."""

import base64
import contextlib
import http.client
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bcrypt
from rich.console import Console

from benchmarks import programs, report, scrapes
from benchmarks.report import Row, Section, seconds
from tests.support.certificates import authority, issue

PASSWORD = "a password"  # nosec B105 # noqa: S105 (protects only a server of the benchmark, on loopback)
COST = 10  # of bcrypt; the default of most tools
ROUNDS = 100  # scrapes of each kind
ATTACK = 60.0  # seconds
MAX_UNDER_ATTACK = 0.5  # seconds
VARIANTS = {"plain": (False, False), "TLS": (True, False), "password": (False, True), "TLS and password": (True, True)}


@dataclass(frozen=True)
class Target:
    """A server that is scraped, over TLS if there is a context."""

    port: int
    context: ssl.SSLContext | None
    headers: dict[str, str]

    def connect(self) -> http.client.HTTPConnection:
        """Return a new connection."""
        if self.context:
            return http.client.HTTPSConnection("localhost", self.port, context=self.context)
        return http.client.HTTPConnection("localhost", self.port)

    def scrape(self, connection: http.client.HTTPConnection) -> float:
        """Return the seconds until the last byte of the response."""
        start = time.perf_counter()
        connection.request("GET", "/metrics", headers=self.headers)
        with connection.getresponse() as response:
            body = response.read()
            if response.status != http.HTTPStatus.OK or not body:
                raise RuntimeError(f"port {self.port} responded with status {response.status}")
        return time.perf_counter() - start

    def medians(self) -> dict[str, float]:
        """Return the median durations of scrapes over one connection, and over new ones."""
        connection = self.connect()
        kept = [self.scrape(connection) for _ in range(ROUNDS)]
        connection.close()
        new = []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            connection = self.connect()
            self.scrape(connection)
            new.append(time.perf_counter() - start)
            connection.close()
        return {"keep-alive": statistics.median(kept), "new connection": statistics.median(new)}


def tls_and_passwords(instances: int) -> Section:
    """Compare what TLS and a password add to scrapes of the exporter and of node_exporter, with the same files."""
    section = Section(f"TLS and passwords: {instances:,} instances")
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        files = _Files(folder)
        (folder / "textfile").mkdir()
        medians: dict[tuple[str, str], dict[str, float]] = {}
        for variant, (tls, password) in VARIANTS.items():
            web_config = files.web_config(tls=tls, password=password)
            with _exporter(instances, web_config) as port:
                target = files.target(port, tls=tls, password=password)
                medians["exporter", variant] = target.medians()
                if variant == "plain":
                    text = programs.fetch(f"http://127.0.0.1:{port}/metrics").splitlines(keepends=True)
                    lines = [line for line in text if b"cloudsql_backup_" in line]
                    (folder / "textfile" / "metrics.prom").write_bytes(b"".join(lines))
            with _node_exporter(folder / "textfile", web_config) as port:
                medians["node_exporter", variant] = files.target(port, tls=tls, password=password).medians()
    for mode in ("keep-alive", "new connection"):
        plain = {program: medians[program, "plain"][mode] for program in ("exporter", "node_exporter")}
        section.rows.append(Row(f"{mode}, plain", seconds(plain["exporter"]), seconds(plain["node_exporter"]), ""))
        for variant in list(VARIANTS)[1:]:
            ours, theirs = (_signed(medians[name, variant][mode] - duration) for name, duration in plain.items())
            section.rows.append(Row(f"{mode}, added by {variant}", ours, theirs, ""))
    return section


def under_attack(instances: int) -> Section:
    """Scrape for a minute while hostile clients keep 1,450 connections and send bad requests."""
    section = Section(f"Scrapes during an attack: {instances:,} instances")
    with _exporter(instances, None) as port:
        client = scrapes.Client(f"http://127.0.0.1:{port}/metrics", compressed=True)
        before = statistics.median(client.scrape() for _ in range(20))
        command = [sys.executable, "-m", "tests.support.attack", "127.0.0.1", str(port)]
        attack = subprocess.Popen(command)  # noqa: S603 (a fixed command, without input from outside)
        try:
            durations: list[float] = []
            end = time.monotonic() + ATTACK
            while time.monotonic() < end:
                durations.append(client.scrape())
                time.sleep(0.1)
        finally:
            attack.terminate()
            attack.wait(60)
    section.add_value("median scrape before the attack", seconds(before))
    section.add_value(f"median of {len(durations)} scrapes", seconds(statistics.median(durations)))
    slowest = max(durations)
    section.add_value("slowest scrape", seconds(slowest), "at most 500 ms", slowest <= MAX_UNDER_ATTACK)
    return section


class _Files:
    """Web configuration files with a certificate and a user."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        certificate_authority = authority()
        issue(certificate_authority).write(folder, "server")
        self._context = ssl.create_default_context(cadata=certificate_authority.cert.decode())
        self._hash = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(COST)).decode()

    def web_config(self, *, tls: bool, password: bool) -> Path:
        """Write a web configuration file."""
        text = "tls_server_config: {cert_file: server.crt, key_file: server.key}\n" if tls else ""
        text += f"basic_auth_users: {{prometheus: '{self._hash}'}}\n" if password else ""
        path = self._folder / "web.yml"
        path.write_text(text, encoding="utf-8")
        return path

    def target(self, port: int, *, tls: bool, password: bool) -> Target:
        """Return a server with that configuration."""
        credentials = base64.b64encode(f"prometheus:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {credentials}"} if password else {}
        return Target(port, self._context if tls else None, {"Accept-Encoding": "gzip", **headers})


@contextlib.contextmanager
def _exporter(instances: int, web_config: Path | None) -> Iterator[int]:
    """Run the exporter with a simulated fleet; yields its port."""
    port, probes = programs.free_port(), programs.free_port()
    flags = [f"--web.listen-address=127.0.0.1:{port}", f"--web.health-address=127.0.0.1:{probes}", "--log.level=error"]
    flags += [f"--web.config.file={web_config}"] if web_config else []
    world = f"--world=fleet:{instances}:{max(1, instances // 100)}"
    with programs.run_server([*programs.EXPORTER, "demo", world, "--speed=0", *flags], probes, "-/ready"):
        yield port


@contextlib.contextmanager
def _node_exporter(textfile: Path, web_config: Path) -> Iterator[int]:
    """Run node_exporter with only its textfile collector; yields its port."""
    port = programs.free_port()
    flags = ["--collector.disable-defaults", "--collector.textfile", f"--collector.textfile.directory={textfile}"]
    flags += ["--web.disable-exporter-metrics", f"--web.listen-address=127.0.0.1:{port}"]
    command = ["prometheus-node-exporter", *flags, f"--web.config.file={web_config}"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603 (a fixed command, without input from outside)
    try:
        while True:
            with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                break
            if process.poll() is not None:
                raise RuntimeError(f"node_exporter exited with status {process.returncode}")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(20)


def _signed(value: float) -> str:
    return f"{'-' if value < 0 else '+'}{seconds(abs(value))}"


def main() -> None:
    """Run these benchmarks alone, and print the results."""
    Console(stderr=True).print("TLS and passwords, then an attack of a minute")
    report.show([tls_and_passwords(100), under_attack(1000)])


if __name__ == "__main__":
    main()
