"""Sources that send requests over HTTP, and servers with prepared responses."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from exporter.config import CloudSql
from exporter.facts.record import ProjectScan
from exporter.googleapis import GoogleApis
from exporter.googleapis.client import Observe
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.googleapis.source import GoogleSource
from exporter.scan.incremental import scan
from exporter.scan.source import Source
from tests.support.builders import NOW, scan_options

TIMEOUT = timedelta(seconds=5)


def ignore(_method: str, _code: str, _seconds: float) -> None:
    """Ignore an observed request."""


def retrying() -> Retrying:
    """Retries that no test waits for."""
    return Retrying(RateLimiter(60_000), threading.Event(), lambda _method: None)


def google_source(
    url: str, timeout: timedelta = TIMEOUT, observe: Observe = ignore, **settings: object
) -> GoogleSource:
    """A source that sends its requests to `url`, and retries none: its deadline has passed."""
    return google_apis(url, timeout, observe, **settings).source(time.monotonic())


def google_apis(url: str, timeout: timedelta = TIMEOUT, observe: Observe = ignore, **settings: object) -> GoogleApis:
    """The APIs at `url`."""
    section = {"endpoint": url, "credentials": "anonymous"} | settings
    return GoogleApis(CloudSql.model_validate(section), timeout, 8, retrying(), observe)


def scan_project(source: Source, project: str) -> ProjectScan:
    """A full scan of a project."""
    return scan(source, project, NOW, scan_options(), None)


class FixedResponse(BaseHTTPRequestHandler):
    """Responds to every request with one status and body."""

    status, body = 200, b""

    def do_GET(self) -> None:
        """Handle a request."""
        self.respond()

    def respond(self) -> None:
        """Send the response."""
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


@contextmanager
def serve(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Run a server; yields its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
