"""Rendering of samples as lines of an exposition, several times faster than the client library.

Both formats write samples alike; only the headers of families differ, and the client library writes those.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from exporter.facts.model import microseconds
from exporter.metrics.catalogue.section import Section
from exporter.metrics.exposition.formats import family_header
from exporter.metrics.metric import Age, Metric, Number, Sample, number

_EXPONENT_FROM = 1e6  # from here on Go, and so the client library, writes an exponent


class AgeLine(NamedTuple):
    """The line of an age: all but its value, and the timestamp it counts from in microseconds since 1970."""

    start: str
    since: int


class Writer:
    """Renders the lines of one metric."""

    def __init__(self, section: Section[Any], metric: Metric[Any]) -> None:
        self.metric = metric
        self._identity, self._names = section.identity, section.identity + metric.labels
        # Most metrics have few combinations of their own labels, each used by every subject.
        self._template = lru_cache(maxsize=256)(self._line_template)
        self._enumerated_template = lru_cache(maxsize=1024)(self._lines_template)

    def render(self, subjects: Iterable[tuple[tuple[str, ...], object]]) -> tuple[str, tuple[AgeLine, ...]]:
        """The lines of subjects, each given with its `identity_values`, and apart from them the ages."""
        read, template = self.metric.read, self._template
        lines: list[str] = []
        ages: list[AgeLine] = []
        for identity, subject in subjects:
            samples = read(subject)
            if self.metric.enumerated:
                samples = tuple(samples)
                lines.append(self._enumerated_template(samples) % (identity * len(samples)))
                continue
            for labels, value, suffix in samples:
                start = template(labels, suffix) % identity
                if isinstance(value, Age):
                    ages.append(AgeLine(start, microseconds(value.since)))
                else:
                    lines.append(f"{start} {_text(value)}\n")
        return "".join(lines), tuple(ages)

    def _lines_template(self, samples: tuple[Sample, ...]) -> str:
        """Lines with placeholders for the identity labels of each."""
        lines = [f"{self._template(labels, suffix)} {_text(value)}\n" for labels, value, suffix in samples]
        return "".join(lines)

    def _line_template(self, labels: tuple[str, ...], suffix: str) -> str:
        """A line without its value, with a placeholder for each identity label."""
        values = ("%s",) * len(self._identity) + tuple(escaped(label).replace("%", "%%") for label in labels)
        pairs = sorted(zip(self._names, values, strict=True))
        text = ",".join(f'{name}="{value}"' for name, value in pairs)
        return self.metric.name + suffix + (f"{{{text}}}" if text else "")

    def header(self, content_type: str) -> bytes:
        """The lines at the beginning of the family."""
        metric = self.metric
        return family_header(content_type, metric.name.removesuffix("_total"), metric.help, metric.type)


def identity_values(section: Section[Any], subject: object) -> tuple[str, ...]:
    """The escaped values of the labels that identify a subject, in the order of their names."""
    labels = zip(section.identity, section.identify(subject), strict=True)
    return tuple(escaped(value) for _name, value in sorted(labels))


def escaped(value: str) -> str:
    """A label value as it is written between quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


@lru_cache(maxsize=2048)
def _text(value: Number) -> str:
    """A value as it is written. The same ones are in several lines of an instance, or in those of many instances."""
    return str(floatToGoString(number(value)))


def render_ages(ages: Iterable[AgeLine], now: datetime) -> bytes:
    """The lines of ages at a time."""
    then = microseconds(now)
    lines = [
        f"{start} {age if (age := (then - since) / 1_000_000) < _EXPONENT_FROM else floatToGoString(age)}\n"
        for start, since in ages
    ]
    return "".join(lines).encode()


def render_families(content_type: str, families: Iterable[Family]) -> bytes:
    """Families of the client library, without the end of an exposition."""
    parts: list[bytes] = []
    for family in families:
        parts.append(family_header(content_type, family.name, family.documentation, family.type))
        for sample in family.samples:
            start = _sample_start(sample.name, tuple(sample.labels.items()))
            parts.append(f"{start} {floatToGoString(sample.value)}\n".encode())
    return b"".join(parts)


@lru_cache(maxsize=1024)
def _sample_start(name: str, labels: tuple[tuple[str, str], ...]) -> str:
    pairs = ",".join(f'{label}="{escaped(value)}"' for label, value in sorted(labels))
    return f"{name}{{{pairs}}}" if pairs else name
