"""Scrape durations of the exporter and its peers, until the last byte, measured in alternation."""

import gzip
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_fd_to_metric_families

SLOW_ROUNDS = 3
_BUFFER = bytearray(1 << 20)


def scrape(url: str, *, compressed: bool) -> float:
    """Return the seconds until the last byte of the response, over a new connection; the body is discarded."""
    parts = urlsplit(url)
    encoding = "gzip" if compressed else "identity"
    request = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    )
    start = time.perf_counter()
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(request.encode())
        received = connection.recv_into(_BUFFER)
        status = bytes(_BUFFER[9:12])
        while received:
            received = connection.recv_into(_BUFFER)
    if status != b"200":
        raise RuntimeError(f"{url} responded with status {status.decode(errors='replace')}")
    return time.perf_counter() - start


class ClientLibrary:
    """prometheus_client with the same samples in memory, rendered as by its HTTP server."""

    def __init__(self, exposition: Path) -> None:
        with exposition.open(encoding="utf-8") as text:
            self._families: list[Metric] = list(text_fd_to_metric_families(text))

    def collect(self) -> list[Metric]:
        """Return the metric families."""
        return self._families

    def render(self, *, compressed: bool) -> float:
        """Return the seconds taken to render, and optionally compress, the exposition."""
        start = time.perf_counter()
        text = generate_latest(self)
        if compressed:
            gzip.compress(text)
        return time.perf_counter() - start


def medians(measures: Mapping[str, Callable[[], float]], rounds: int, slow: set[str]) -> dict[str, float]:
    """Return the median of each measure, taken in alternation; slow ones are measured in the first rounds only."""
    durations: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            if name not in slow or number < SLOW_ROUNDS:
                durations[name].append(measure())
    return {name: statistics.median(values) for name, values in durations.items()}
