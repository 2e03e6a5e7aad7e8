"""An exposition on its way to the scraper."""

from collections.abc import Iterable, Iterator

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from exporter.exposition import Body

CHUNK = 1 << 20  # bytes handed on at once: few enough to copy, enough not to send each family by itself


class Scrape(Response):
    """A body that stands ready in parts, sent in chunks of about a megabyte."""

    def __init__(self, body: Body, content_type: str, *, gzip: bool) -> None:
        super().__init__(
            headers={
                "Content-Type": content_type,
                "Content-Length": str(body.length),
                "Vary": "Accept, Accept-Encoding",
                **({"Content-Encoding": "gzip"} if gzip else {}),
            }
        )
        self._parts = body.parts

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for chunk in chunks(self._parts):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of at least CHUNK, but for the last."""
    gathered: list[bytes] = []
    size = 0
    for part in parts:
        gathered.append(part)
        size += len(part)
        if size >= CHUNK:
            yield b"".join(gathered)
            gathered, size = [], 0
    yield b"".join(gathered)
