"""The two formats of an exposition, and which of them, compressed or not, a scraper asks for."""

from collections.abc import Iterable

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END = {TEXT: b"", OPENMETRICS: b"# EOF\n"}


def exposition_type(accept: str) -> str:
    """The content type an Accept header asks for: OpenMetrics where that is wanted at least as much as plain text."""
    openmetrics_wanted = _quality(accept, "application/openmetrics-text")
    return OPENMETRICS if openmetrics_wanted and openmetrics_wanted >= _quality(accept, "text/plain") else TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    return _quality(accept_encoding, "gzip") > 0


def written(content_type: str, families: Iterable[Family]) -> bytes:
    """Families as the client library writes them, without the end of the exposition."""
    write = openmetrics.generate_latest if content_type == OPENMETRICS else exposition.generate_latest
    return bytes(write(_Collected(families))).removesuffix(END[content_type])


class _Collected:
    """Families that stand ready, in the shape the writers take."""

    def __init__(self, ready: Iterable[Family]) -> None:
        self._ready = ready

    def collect(self) -> Iterable[Family]:
        return self._ready


def _quality(header: str, wanted: str) -> float:
    """The highest quality that a header gives to a word; 0 where it does not name it."""
    parts = [[piece.strip() for piece in part.split(";")] for part in header.lower().split(",")]
    return max((_given(parameters) for word, *parameters in parts if word == wanted), default=0.0)


def _given(parameters: list[str]) -> float:
    given = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return float(given)
    except ValueError:
        return 0.0
