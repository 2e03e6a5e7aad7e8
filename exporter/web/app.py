"""The ASGI applications. No response waits for a poll or calls the API."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from urllib.parse import quote, unquote, urlsplit

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route, Router

from exporter.config import ConfigError
from exporter.googleapis import CredentialsError
from exporter.runtime import Exporter
from exporter.verdict.listing import Listing
from exporter.web.api.endpoints import Api
from exporter.web.pages.links import Sites
from exporter.web.renderer import Renderer
from exporter.web.scrape import ScrapeEndpoint
from exporter.web.site import Site
from exporter.web.static_files import static_file

log = logging.getLogger(__name__)

MAX_PAGES = 2  # computed at once, so that they do not slow down scrapes


def path_prefix(external_url: str) -> str:
    """Return the path of an external URL, or of a path alone, without a slash at its end. Raises ValueError."""
    try:
        parts = urlsplit(external_url)
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
        valid = valid or (external_url[:1] in ("", "/") and not parts.netloc)
    except ValueError:
        valid = False
    if not valid or parts.query or parts.fragment or not external_url.isprintable():
        raise ValueError(f"{external_url!r} is not a valid external URL; write http(s)://HOST[:PORT][/PATH], or /PATH")
    path = unquote(parts.path).strip("/")
    if set(path) & set("{}\\") or not path.isprintable() or "//" in path:
        raise ValueError(f"{external_url!r}: the path contains characters that cannot be served")
    return f"/{path}" if path else ""


def application(
    exporter: Exporter, *, lifecycle: bool = False, prefix: str = "", sites: Sites | None = None
) -> Starlette:
    """The application of a running exporter.

    `lifecycle` enables `/-/reload`; every path begins with `prefix`; pages link to `sites`.
    """
    listing = Listing()
    site = Site(exporter, listing, Renderer(prefix), sites or Sites())
    api = Api(exporter, listing)

    def reload(_request: Request) -> Response:
        try:
            exporter.reload()
        except (ConfigError, CredentialsError) as error:
            log.error("configuration not reloaded, the current one stays in force: %s", error)
            return PlainTextResponse(f"{error}\n", status_code=400)
        return PlainTextResponse("reloaded\n")

    compressed = [Middleware(GZipMiddleware, minimum_size=1000, compresslevel=2)]
    pages = asyncio.Semaphore(MAX_PAGES)
    routes = [
        Route("/metrics", ScrapeEndpoint(exporter), methods=["GET"]),  # the exposition compresses itself
        Route("/", _page(site.status, pages), middleware=compressed),
        Route("/instances/{project}/{instance:path}", _page(site.instance, pages), middleware=compressed),
        Route("/windows", _page(site.windows, pages), middleware=compressed),
        Route("/deleted", _page(site.deleted_instances, pages), middleware=compressed),
        Route("/exporter", _page(site.exporter, pages), middleware=compressed),
        Route("/static/{name}", static_file, middleware=compressed),
        Route("/api/v1/status", _page(api.status, pages), middleware=compressed),
        Route("/api/v1/instances/{project}/{instance:path}", _page(api.instance, pages), middleware=compressed),
        Route("/api/v1/deleted-instances", _page(api.deleted_instances, pages), middleware=compressed),
        Route("/api/v1/openapi.json", _page(api.openapi, pages), middleware=compressed),
        *_probes(exporter),
    ]
    if lifecycle:
        routes.append(Route("/-/reload", reload, methods=["POST", "PUT"]))
    return _without_redirects(_under(prefix, routes) if prefix else routes)


def health_application(exporter: Exporter) -> Starlette:
    """The application of `--web.health-address`."""
    return _without_redirects(_probes(exporter))


def _probes(exporter: Exporter) -> list[Route]:
    def healthy(_request: Request) -> Response:
        return _probe_response(exporter.healthy(), "healthy", "the poll loop is stuck")

    def ready(_request: Request) -> Response:
        return _probe_response(exporter.ready(), "ready", "no data yet")

    return [Route("/-/healthy", healthy), Route("/-/ready", ready)]


def _probe_response(success: bool, success_text: str, failure_text: str) -> Response:
    return PlainTextResponse(f"{success_text if success else failure_text}\n", status_code=200 if success else 503)


def _page(respond: Callable[[Request], Response], pages: asyncio.Semaphore) -> Callable[[Request], Awaitable[Response]]:
    """Return an endpoint that computes its responses in a thread, a limited number at once."""

    async def endpoint(request: Request) -> Response:
        async with pages:
            return await run_in_threadpool(respond, request)

    return endpoint


def _under(prefix: str, routes: Sequence[BaseRoute]) -> list[BaseRoute]:
    """Return routes below a prefix, to which `/` redirects, without a host: that of a request is not trusted."""

    async def redirect(_request: Request) -> Response:
        return RedirectResponse(f"{quote(prefix)}/", 302)

    return [Route("/", redirect), Route(prefix, redirect), Mount(prefix, Router(routes, redirect_slashes=False))]


def _without_redirects(routes: Sequence[BaseRoute]) -> Starlette:
    """Return an application that does not redirect `/metrics/`: Starlette takes the host of the request."""
    app = Starlette(routes=routes)
    app.router.redirect_slashes = False
    return app
