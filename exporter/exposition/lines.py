"""How a sample becomes a line of an exposition: the one thing here that the client library also does, but slower.

Both formats write samples alike; only the heads of families differ, and those the client library writes.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

from prometheus_client.metrics_core import Metric as Family
from prometheus_client.utils import floatToGoString

from exporter.exposition.formats import written
from exporter.metric import Metric, Section
from exporter.model import microseconds

_NO_EXPONENT = 1e6  # from here on Go, and so the client library, writes an exponent


class Age(NamedTuple):
    """The line of an age: all but its value, and the moment it counts from in microseconds since 1970."""

    start: str
    since: int


class Writer:
    """Writes the lines of one metric."""

    def __init__(self, section: Section[Any], metric: Metric[Any]) -> None:
        self.metric = metric
        self._identity, self._names = section.identity, section.identity + metric.labels
        # A line but for subject and value: most metrics have a few of them, and each subject a line of each.
        self._line = lru_cache(maxsize=256)(self._line_but_for_subject_and_value)

    def lines(self, subjects: Iterable[tuple[tuple[str, ...], object]]) -> tuple[str, tuple[Age, ...]]:
        """The lines of subjects, each given with its `identity`; those of ages apart."""
        read, line = self.metric.read, self._line
        lines: list[str] = []
        ages: list[Age] = []
        for name, subject in subjects:
            for labels, value, suffix in read(subject):
                start = line(labels, suffix) % name
                if isinstance(value, float):
                    shown = repr(value) if 0 <= value < _NO_EXPONENT else floatToGoString(value)
                    lines.append(f"{start} {shown}\n")
                else:
                    ages.append(Age(start, microseconds(value)))
        return "".join(lines), tuple(ages)

    def _line_but_for_subject_and_value(self, labels: tuple[str, ...], suffix: str) -> str:
        values = ("%s",) * len(self._identity) + tuple(escaped(label).replace("%", "%%") for label in labels)
        pairs = sorted(zip(self._names, values, strict=True))
        text = ",".join(f'{name}="{value}"' for name, value in pairs)
        return self.metric.name + suffix + (f"{{{text}}}" if text else "")

    def head(self, content_type: str) -> bytes:
        """The lines that begin the family."""
        metric = self.metric
        return written(content_type, [Family(metric.name.removesuffix("_total"), metric.help, metric.type)])


def identity(section: Section[Any], subject: object) -> tuple[str, ...]:
    """What names a subject: the escaped values of the labels that do, in the order of their names."""
    labels = zip(section.identity, section.identify(subject), strict=True)
    return tuple(escaped(value) for _name, value in sorted(labels))


def escaped(value: str) -> str:
    """A label's value as it stands between quotes."""
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
    return value


def told(ages: Iterable[Age], now: datetime) -> str:
    """The lines of ages at a moment."""
    moment = microseconds(now)
    spans = ((start, (moment - since) / 1_000_000) for start, since in ages)
    return "".join([f"{start} {span if span < _NO_EXPONENT else floatToGoString(span)}\n" for start, span in spans])
