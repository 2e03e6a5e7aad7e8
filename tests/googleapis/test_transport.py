"""HTTP transport: a limit for the whole request, and numbers of any length."""

import contextlib
import threading
import time
from datetime import timedelta

import pytest

from exporter.facts.model import PollResult
from exporter.scan import parse
from exporter.scan.source import ALL_INSTANCES, SourceError
from tests.googleapis.helpers import FixedResponse, google_source, serve


class SlowBody(FixedResponse):
    """Sends a byte every 50 ms, for a minute."""

    def respond(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1200")
        self.end_headers()
        self.send_slowly(b" ")

    def send_slowly(self, data: bytes) -> None:
        with contextlib.suppress(OSError):
            for _ in range(1200):
                self.wfile.write(data)
                threading.Event().wait(0.05)


class SlowHeaders(SlowBody):
    """Sends a byte every 50 ms of a header that does not end."""

    def respond(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        self.send_slowly(b"x")


@pytest.mark.parametrize("handler", [SlowBody, SlowHeaders])
def test_slow_response_is_aborted_at_timeout(handler: type[FixedResponse]) -> None:
    with serve(handler) as url:
        source = google_source(url, timedelta(seconds=0.5))
        start = time.monotonic()
        with pytest.raises(SourceError) as raised:
            list(source.instances("museum"))
        duration = time.monotonic() - start
    assert raised.value.result is PollResult.TIMEOUT
    assert duration < 10


def test_very_long_number_affects_only_its_field() -> None:
    body = b'{"items": [{"id": %s, "instance": "a"}]}' % (b"9" * 10_000)
    with serve(type("Handler", (FixedResponse,), {"body": body})) as url:
        (page,) = google_source(url).backup_runs("museum", ALL_INSTANCES)
    (item,) = page.items
    assert parse.json_value(item) == {"id": "9" * 10_000, "instance": "a"}
