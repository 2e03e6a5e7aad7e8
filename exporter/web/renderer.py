"""HTML of the pages: the templates, the functions that they use, and the headers of a page."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import HTMLResponse

from exporter.config import format_duration
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Protection
from exporter.web.pages.days import DayCell, description
from exporter.web.pages.words import ICONS, bytes_text, state_word
from exporter.web.static_files import static_path

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Renderer:
    """Renders templates as responses. Links on a page are relative, so that it works behind any path."""

    def __init__(self, prefix: str = "") -> None:
        """`prefix` is the path of `--web.external-url`, without a slash at its end."""
        self._depth = prefix.count("/")
        self.environment = Environment(
            loader=PackageLoader("exporter.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self.environment.globals.update(static_path=static_path, ICONS=ICONS)
        self.environment.filters.update(
            duration=format_duration,
            bytes=bytes_text,
            word=state_word,
            utc=utc_text,
            in_words=description,
            minute=minute_text,
            iso=iso_text,
        )

    @cached_property
    def _macros(self) -> Any:
        return self.environment.get_template("macros.html.jinja").module

    def strip(self, cells: Sequence[DayCell]) -> Markup:
        """The last days of an instance."""
        strip: Markup = self._macros.strip(cells)  # a macro of an environment that escapes returns Markup
        return strip

    def page(
        self,
        template: str,
        request: Request,
        evaluation: Evaluation,
        *,
        icon: Protection | None,
        status_code: int = 200,
        **context: object,
    ) -> HTMLResponse:
        """Return a page. `icon` is the state that the icon of the browser's tab shows, None for none."""
        text = self.environment.get_template(template).render(
            root=self.root(request.scope.get("raw_path", request.url.path.encode())),
            evaluation=evaluation,
            now=evaluation.now,
            icon=icon,
            **context,
        )
        return HTMLResponse(text, status_code, HEADERS)

    def root(self, raw_path: bytes) -> str:
        """The relative path from a page, by its path as sent, to the status page."""
        path = raw_path.partition(b"?")[0]
        return "../" * (path.count(b"/") - 1 - self._depth)


def utc_text(timestamp: datetime) -> str:
    """A time, to the second."""
    return timestamp.strftime("%Y-%m-%d %H:%M:%S UTC")


def minute_text(timestamp: datetime) -> str:
    """A time, to the minute."""
    return timestamp.strftime("%Y-%m-%d %H:%M UTC")


def iso_text(timestamp: datetime) -> str:
    """A time as `<time datetime>` contains it."""
    return timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
