"""The two exposition formats, and content negotiation."""

from collections.abc import Iterable
from functools import cache

from prometheus_client import exposition
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics import exposition as openmetrics

TEXT = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
END = {TEXT: b"", OPENMETRICS: b"# EOF\n"}


def exposition_type(accept: str) -> str:
    """The content type for an Accept header: OpenMetrics if its quality is at least that of plain text."""
    openmetrics_quality = _quality(accept, "application/openmetrics-text")
    return OPENMETRICS if openmetrics_quality and openmetrics_quality >= _quality(accept, "text/plain") else TEXT


def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    return _quality(accept_encoding, "gzip") > 0


@cache
def family_header(content_type: str, name: str, help_text: str, metric_type: str) -> bytes:
    """The lines at the beginning of a family, as the client library writes them."""
    write = openmetrics.generate_latest if content_type == OPENMETRICS else exposition.generate_latest
    return bytes(write(_Collected([Family(name, help_text, metric_type)]))).removesuffix(END[content_type])


class _Collected:
    """Families as a collector of the client library."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _quality(header: str, name: str) -> float:
    """The highest quality that a header gives to a name; 0 if it is not there."""
    parts = [[piece.strip() for piece in part.split(";")] for part in header.lower().split(",")]
    return max((_quality_value(parameters) for item, *parameters in parts if item == name), default=0.0)


def _quality_value(parameters: list[str]) -> float:
    value = next((parameter[2:] for parameter in parameters if parameter.startswith("q=")), "1")
    try:
        return float(value)
    except ValueError:
        return 0.0
