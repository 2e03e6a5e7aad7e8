"""The simulated API on a real socket of loopback: HTTP/1.1, kept connections, gzip for who asks as Google wants it."""

import gzip
import json
import socket
import struct
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

from exporter.simulator.api import Answer, Request, answer
from exporter.simulator.faults import Fault, Faults, Reply
from exporter.simulator.worlds import World

CONTROL = "/simulator/faults"  # GET lists the faults and counts requests, POST switches a fault on, DELETE all off


class Simulator:
    """Serves a world in the background. Use as a context, or `start` and `stop`."""

    def __init__(self, world: World, host: str = "127.0.0.1", port: int = 0) -> None:
        """Bind, on a free port by default. Raises OSError where the port cannot be had."""
        self.world = world
        self.faults = Faults()
        self.requests: list[str] = []  # path and query of every request, in order
        self.stopping = threading.Event()

        class Handler(_Handler):
            simulator = self

        self._server = _Server((host, port), Handler)
        self.url = f"http://{host}:{self._server.server_address[1]}/"

    def start(self) -> None:
        """Serve in the background."""
        threading.Thread(target=self._server.serve_forever, args=(0.05,), name="simulator", daemon=True).start()

    def stop(self) -> None:
        """Serve no more, and free the port."""
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
        """Answer from the world, as far as the faults allow."""
        if self.path == CONTROL:
            told = {"faults": self.simulator.faults.listed(), "requests": len(self.simulator.requests)}
            self._send(Reply.of(Answer(200, told)))
            return
        url = urlsplit(self.path)
        self.simulator.requests.append(self.path)
        request = Request(self.simulator.world, url.path, dict(parse_qsl(url.query)))
        self._send(self.simulator.faults.apply(request, answer(request)))

    def do_POST(self) -> None:
        """Switch a fault on: a JSON object with the fields of `Fault`."""
        try:
            fields = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.simulator.faults.add(Fault(**fields))
        except (ValueError, TypeError) as error:
            self._send(Reply.of(Answer(400, {"error": str(error)})))
        else:
            self._send(Reply.of(Answer(200, {"faults": self.simulator.faults.listed()})))

    def do_DELETE(self) -> None:
        """Switch every fault off."""
        self.simulator.faults.clear()
        self._send(Reply.of(Answer(200, {"faults": []})))

    def _send(self, reply: Reply) -> None:
        if self.simulator.stopping.wait(reply.delay) or reply.reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close resets
            self.close_connection = True
            return
        body = reply.body
        headers = {"Content-Type": "application/json; charset=UTF-8", **reply.headers}
        if "gzip" in self.headers.get("Accept-Encoding", "") and "gzip" in self.headers.get("User-Agent", ""):
            body = gzip.compress(body, 1)
            headers["Content-Encoding"] = "gzip"
        self.send_response(reply.status)
        for name, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if reply.cut else body)
        self.close_connection = self.close_connection or reply.cut

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name the base class gives it)
        """Say nothing: `simulate` has a log of its own."""
