"""HTTP/1.1 server of the simulated API on loopback, with persistent connections and with gzip as Google serves it."""

import gzip
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from exporter.simulator.api import ApiResponse, Request, respond
from exporter.simulator.faults import Fault, Faults, HttpResponse
from exporter.simulator.timeline import Resource
from exporter.simulator.worlds import World

CONTROL = "/simulator/faults"  # GET lists faults and counts requests, POST adds a fault, DELETE removes all


class Simulator:
    """Serves a world in the background. Use it as a context manager, or call `start` and `stop`."""

    def __init__(self, world: World, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind to a port, by default a free one. Raises OSError if the port is not available."""
        self.world = world
        self.faults = Faults()
        self.requests: list[str] = []  # path and query of every request, in order
        self.stopping = threading.Event()

        class Handler(_Handler):
            simulator = self

        self._server = _Server((host, port), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Start serving in a background thread."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True).start()

    def stop(self) -> None:
        """Stop serving and release the port."""
        self.stopping.set()
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    simulator: Simulator
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Respond from the world."""
        if self.path == CONTROL:
            status = {"faults": self.simulator.faults.as_dicts(), "requests": len(self.simulator.requests)}
            self._send_json(200, status)
        else:
            self._respond()

    def do_POST(self) -> None:
        """Respond from the world, or add a fault: a JSON object with the fields of `Fault`."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != CONTROL:
            self._respond(body)
            return
        try:
            fields = json.loads(body)
            self.simulator.faults.add(Fault(**fields))
        except (ValueError, TypeError) as error:
            self._send_json(400, {"error": str(error)})
        else:
            self._send_json(200, {"faults": self.simulator.faults.as_dicts()})

    def _respond(self, body: bytes | None = None) -> None:
        """Respond from the world, subject to the active faults."""
        url = urlsplit(self.path)
        self.simulator.requests.append(self.path)
        content = None if body is None else _parsed(body)
        query = {name: ",".join(values) for name, values in parse_qs(url.query).items()}
        request = Request(self.simulator.world, url.path, query, content)
        self._send(self.simulator.faults.apply(request, respond(request)))

    def do_DELETE(self) -> None:
        """Remove all faults."""
        self.simulator.faults.clear()
        self._send_json(200, {"faults": []})

    def _send_json(self, status: int, body: Resource) -> None:
        self._send(HttpResponse.of(ApiResponse(status, body)))

    def _send(self, response: HttpResponse) -> None:
        if self.simulator.stopping.wait(response.delay) or response.reset:
            # With a linger time of 0, close() resets the connection.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            return
        body = response.body
        headers = {"Content-Type": "application/json; charset=UTF-8", **response.headers}
        if "gzip" in self.headers.get("Accept-Encoding", "") and "gzip" in self.headers.get("User-Agent", ""):
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        self.send_response(response.status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if response.cut else body)
        self.close_connection = self.close_connection or response.cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (name set by the base class)
        """Log nothing."""


def _parsed(body: bytes) -> object:
    """Return the JSON of a body; of one that is not JSON, an empty text."""
    try:
        content = json.loads(body)
    except ValueError:
        return ""
    return "" if content is None else content
