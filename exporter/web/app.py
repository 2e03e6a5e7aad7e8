"""The ASGI application. No response waits for a poll or calls the API."""

import logging

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from exporter.config import ConfigError, format_duration
from exporter.googleapis import CredentialsError
from exporter.runtime import Exporter
from exporter.verdict import summary
from exporter.web.scrape import ScrapeEndpoint

log = logging.getLogger(__name__)

_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
}


def application(exporter: Exporter, *, lifecycle: bool = False) -> Starlette:
    """The application of a running exporter. `lifecycle` enables `/-/reload`."""
    templates = Environment(loader=PackageLoader("exporter.web"), autoescape=True, undefined=StrictUndefined)
    page = templates.get_template("status.html.jinja")

    def status_page(_request: Request) -> Response:
        evaluation = exporter.evaluate()
        text = page.render(
            evaluation=evaluation,
            oldest=min((status.last_success for status in evaluation.projects if status.last_success), default=None),
            rows=summary.rows(evaluation),
            totals=summary.totals(evaluation),
            problems=summary.problems(evaluation),
            format_duration=format_duration,
        )
        return HTMLResponse(text, headers=_PAGE_HEADERS)

    def status_json(_request: Request) -> Response:
        return JSONResponse(summary.as_json(exporter.evaluate()))

    def healthy(_request: Request) -> Response:
        return _probe_response(exporter.healthy(), "healthy", "the poll loop is stuck")

    def ready(_request: Request) -> Response:
        return _probe_response(exporter.ready(), "ready", "no data yet")

    async def reload(_request: Request) -> Response:
        try:
            await run_in_threadpool(exporter.reload)
        except (ConfigError, CredentialsError) as error:
            log.error("configuration not reloaded, the current one stays in force: %s", error)
            return PlainTextResponse(f"{error}\n", status_code=400)
        return PlainTextResponse("reloaded\n")

    compressed = [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=2)]
    routes = [
        Route("/metrics", ScrapeEndpoint(exporter), methods=["GET"]),  # the exposition compresses itself
        Route("/", status_page, middleware=compressed),
        Route("/api/v1/status", status_json, middleware=compressed),
        Route("/-/healthy", healthy),
        Route("/-/ready", ready),
    ]
    if lifecycle:
        routes.append(Route("/-/reload", reload, methods=["POST", "PUT"]))
    return Starlette(routes=routes)


def _probe_response(success: bool, success_text: str, failure_text: str) -> Response:
    return PlainTextResponse(f"{success_text if success else failure_text}\n", status_code=200 if success else 503)
