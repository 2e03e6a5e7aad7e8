"""The ASGI application. No answer waits for a poll, and none asks the API."""

import logging

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter import report
from exporter.cloudsql import CredentialsError
from exporter.config import ConfigError, format_duration
from exporter.exposition import accepts_gzip, exposition_type
from exporter.service import Exporter
from exporter.web.scrape import Scrape

log = logging.getLogger(__name__)

_NO_SCRIPTS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'", "Cache-Control": "no-store"}


def application(exporter: Exporter, *, lifecycle: bool = False) -> Starlette:
    """The application over a running exporter. `lifecycle` opens `/-/reload`."""
    templates = Environment(loader=PackageLoader("exporter.web"), autoescape=True, undefined=StrictUndefined)
    page = templates.get_template("status.html.jinja")

    def metrics(request: Request) -> Response:
        media_type = exposition_type(request.headers.get("accept", ""))
        gzip = accepts_gzip(request.headers.get("accept-encoding", ""))
        return Scrape(exporter.exposition(media_type, gzip=gzip), media_type, gzip=gzip)

    def status_page(_request: Request) -> Response:
        view = exporter.view()
        text = page.render(
            view=view,
            oldest=min((status.last_success for status in view.projects if status.last_success), default=None),
            rows=report.rows(view),
            totals=report.totals(view),
            troubles=report.troubles(view),
            format_duration=format_duration,
        )
        return HTMLResponse(text, headers=_NO_SCRIPTS)

    def status_json(_request: Request) -> Response:
        return JSONResponse(report.as_json(exporter.view()))

    def healthy(_request: Request) -> Response:
        return _yes_or_no(exporter.healthy, "healthy", "the poll loop is stuck")

    def ready(_request: Request) -> Response:
        return _yes_or_no(exporter.ready, "ready", "nothing was read yet")

    async def reload(_request: Request) -> Response:
        try:
            await run_in_threadpool(exporter.reload)
        except (ConfigError, CredentialsError) as error:
            log.error("the configuration was not reloaded: %s", error)
            return PlainTextResponse(f"{error}\n", status_code=400)
        return PlainTextResponse("reloaded\n")

    compressed = [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=2)]
    routes = [
        Route("/", status_page, middleware=compressed),
        Route("/metrics", metrics),  # comes compressed
        Route("/api/v1/status", status_json, middleware=compressed),
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
    ]
    if lifecycle:
        routes.append(Route("/-/reload", reload, methods=["POST", "PUT"]))
    return Starlette(routes=routes)


def _yes_or_no(holds: bool, yes: str, no: str) -> Response:
    return PlainTextResponse(f"{yes}\n") if holds else PlainTextResponse(f"{no}\n", status_code=503)
