"""Scrapes: how long until the last byte is there, of ours and of its peers, in turns."""

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

_BUFFER = bytearray(1 << 20)


def scrape(url: str, *, compressed: bool) -> float:
    """Seconds from the request to the last byte, over a connection of its own; the bytes are thrown away."""
    parts = urlsplit(url)
    encoding = "gzip" if compressed else "identity"
    request = (
        f"GET {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nAccept-Encoding: {encoding}\r\nConnection: close\r\n\r\n"
    )
    began = time.perf_counter()
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as connection:
        connection.sendall(request.encode())
        received = connection.recv_into(_BUFFER)
        status = bytes(_BUFFER[9:12])
        while received:
            received = connection.recv_into(_BUFFER)
    if status != b"200":
        raise RuntimeError(f"{url} answered {status.decode(errors='replace')}")
    return time.perf_counter() - began


class ClientLibrary:
    """The client library with the same samples in memory, rendering them as its own servers do."""

    def __init__(self, exposition: Path) -> None:
        with exposition.open(encoding="utf-8") as text:
            self._families: list[Metric] = list(text_fd_to_metric_families(text))

    def collect(self) -> list[Metric]:
        """The families that stand ready."""
        return self._families

    def render(self, *, compressed: bool) -> float:
        """Seconds."""
        began = time.perf_counter()
        text = generate_latest(self)
        if compressed:
            gzip.compress(text)
        return time.perf_counter() - began


def medians(measures: Mapping[str, Callable[[], float]], rounds: int, rare: set[str]) -> dict[str, float]:
    """The median of each measure, taken in turns; of the rare ones, which take seconds, only in the first rounds."""
    taken: dict[str, list[float]] = {name: [] for name in measures}
    for number in range(rounds):
        for name, measure in measures.items():
            if name not in rare or number < 3:
                taken[name].append(measure())
    return {name: statistics.median(seconds) for name, seconds in taken.items()}
