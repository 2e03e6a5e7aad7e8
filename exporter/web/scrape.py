"""The responses to scrapes."""

from functools import lru_cache

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from exporter.metrics.exposition import accepts_gzip, exposition_type
from exporter.runtime import Exporter


class ScrapeEndpoint:
    """The ASGI application of `/metrics`. Uses a thread for work that would block the event loop."""

    def __init__(self, exporter: Exporter) -> None:
        self._exporter = exporter

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Send the exposition in chunks of about 1 MiB."""
        exporter, headers = self._exporter, Headers(scope=scope)
        content_type, gzip = _negotiate(headers.get("accept", ""), headers.get("accept-encoding", ""))
        body = exporter.quick_exposition(content_type, gzip=gzip)
        if body is None:
            body = await run_in_threadpool(exporter.exposition, content_type, gzip=gzip)
        response_headers = [
            (b"content-type", content_type.encode()),
            (b"content-length", str(body.length).encode()),
            (b"vary", b"Accept, Accept-Encoding"),
            *([(b"content-encoding", b"gzip")] if gzip else []),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": response_headers})
        unsent = body.length
        for chunk in body.chunks():
            unsent -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": unsent > 0})


@lru_cache(maxsize=32)
def _negotiate(accept: str, accept_encoding: str) -> tuple[str, bool]:
    """The content type of an exposition, and whether it is compressed."""
    return exposition_type(accept), accepts_gzip(accept_encoding)
