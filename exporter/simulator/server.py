"""The simulated API on a real socket of loopback: HTTP/1.1, kept connections, gzip for who asks as Google wants it."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from exporter.simulator.api import Answer, answer
from exporter.simulator.worlds import World


class Simulator:
    """Serves a world in the background. Use as a context, or `start` and `stop`."""

    def __init__(self, world: World, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind, on a free port by default. Raises OSError where the port cannot be had."""
        self.world = world
        self.requests: list[str] = []  # path and query of every request, in order

        class Handler(_Handler):
            simulator = self

        self._server = _Server((host, port), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True).start()

    def stop(self) -> None:
        """Serve no more, and free the port."""
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
        """Answer from the world."""
        url = urlsplit(self.path)
        self.simulator.requests.append(self.path)
        self._send(answer(self.simulator.world, url.path, dict(parse_qsl(url.query))))

    def _send(self, reply: Answer) -> None:
        body = json.dumps(reply.body).encode()
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json; charset=UTF-8")
        if "gzip" in self.headers.get("Accept-Encoding", "") and "gzip" in self.headers.get("User-Agent", ""):
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name the base class gives it)
        """Say nothing: `simulate` has a log of its own."""
