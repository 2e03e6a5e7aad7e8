"""Scrape durations of the exporter and its peers, until the last byte, and as reported by Prometheus."""

import json
import re
import socket
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote, urlsplit

from benchmarks import programs

SLOW_ROUNDS = 3
_BUFFER = bytearray(1 << 20)
_FIRST_BYTES = 1 << 16
_LAST_CHUNK = b"0\r\n\r\n"


class Client:
    """A client that discards bodies. It uses a new connection for each scrape, or one keep-alive connection."""

    def __init__(self, url: str, *, compressed: bool, keep_alive: bool = False) -> None:
        parts = urlsplit(url)
        headers = {
            "Host": parts.netloc,
            "Accept-Encoding": "gzip" if compressed else "identity",
            "Connection": "keep-alive" if keep_alive else "close",
        }
        lines = [f"GET {parts.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._address = (parts.hostname or "", parts.port or 0)
        self._keep_alive = keep_alive
        self._open: socket.socket | None = None

    def scrape(self) -> float:
        """Return the seconds until the last byte of the response. A server may close a keep-alive connection."""
        start = time.perf_counter()
        connection, self._open = self._open or socket.create_connection(self._address), None
        connection.sendall(self._request)
        response = b""
        while b"\r\n\r\n" not in response:
            received = _count(connection.recv_into(_BUFFER, _FIRST_BYTES))
            response += _BUFFER[:received]
        head, _, body = response.partition(b"\r\n\r\n")
        if head[9:12] != b"200":
            raise RuntimeError(f"{self._address} responded with status {head[9:12].decode(errors='replace')}")
        if self._keep_alive:
            _discard_body(connection, head.lower(), body)
        else:
            while connection.recv_into(_BUFFER):
                pass
        duration = time.perf_counter() - start
        if self._keep_alive and head.startswith(b"HTTP/1.1") and b"\r\nconnection: close" not in head.lower():
            self._open = connection
        else:
            connection.close()
        return duration


def _discard_body(connection: socket.socket, head: bytes, body: bytes) -> None:
    """Read until the end of a body that has a length or is sent in chunks."""
    length = re.search(rb"\r\ncontent-length: *(\d+)", head)
    if length:
        unread = int(length[1]) - len(body)
        while unread > 0:
            unread -= _count(connection.recv_into(_BUFFER))
    else:
        tail = body[-len(_LAST_CHUNK) :]
        while tail != _LAST_CHUNK:
            received = _count(connection.recv_into(_BUFFER))
            tail = (tail + _BUFFER[max(0, received - len(_LAST_CHUNK)) : received])[-len(_LAST_CHUNK) :]


def _count(received: int) -> int:
    """Return the number of received bytes. Raises ConnectionError if the connection was closed."""
    if not received:
        raise ConnectionError("the connection was closed before the end of the response")
    return received


def medians(
    measures: Mapping[str, Callable[[], float]], rounds: int, slow: set[str], *, alternate: bool
) -> dict[str, float]:
    """Return the median of each measure; slow ones have fewer rounds.

    They are taken in alternation, or each without pauses, so that no keep-alive connection idles.
    """
    order = [(number, name) for name in measures for number in range(SLOW_ROUNDS if name in slow else rounds)]
    durations: dict[str, list[float]] = {name: [] for name in measures}
    for _, name in sorted(order, key=lambda item: item[0]) if alternate else order:
        durations[name].append(measures[name]())
    return {name: statistics.median(values) for name, values in durations.items()}


def duration_by_prometheus(url: str, interval: float, rounds: int, folder: Path) -> float:
    """Return the median of scrape_duration_seconds without the first scrape, which creates the series."""
    query = quote('{__name__=~"scrape_duration_seconds|up"}[1d]')
    durations: list[float] = []
    with programs.prometheus(url, interval, folder) as prometheus:
        while len(durations) <= rounds:
            time.sleep(interval / 4)
            response = json.loads(programs.fetch(f"{prometheus.url}api/v1/query?query={query}"))
            series = {item["metric"]["__name__"]: item["values"] for item in response["data"]["result"]}
            if any(value != "1" for _, value in series.get("up", [])):
                raise RuntimeError(f"Prometheus failed to scrape {url}")
            durations = [float(value) for _, value in series.get("scrape_duration_seconds", [])]
    return statistics.median(durations[1:])
