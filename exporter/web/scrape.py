"""The response to a scrape."""

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from exporter.metrics.exposition import Body


class ScrapeResponse(Response):
    """Sends a rendered body in chunks of about 1 MiB."""

    def __init__(self, body: Body, content_type: str, *, gzip: bool) -> None:
        super().__init__(
            headers={
                "Content-Type": content_type,
                "Content-Length": str(body.length),
                "Vary": "Accept, Accept-Encoding",
                **({"Content-Encoding": "gzip"} if gzip else {}),
            }
        )
        self._body = body

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the response."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for chunk in self._body.chunks():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
