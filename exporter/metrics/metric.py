"""Metrics: a name, a help text, a type, labels, and a pure function that reads samples from a subject."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, NamedTuple, TypeVar

S = TypeVar("S")

MetricType = Literal["gauge", "counter", "summary", "histogram"]
Number = float | datetime | timedelta  # exposed as a float: Unix seconds, seconds, 0 or 1


class Age(NamedTuple):
    """A value that is exposed as the seconds from a timestamp to the scrape."""

    since: datetime


class Sample(NamedTuple):
    """Values of the metric's own labels, a value, and the suffix of a summary's sample."""

    labels: tuple[str, ...]
    value: Number | Age
    suffix: str = ""


Read = Callable[[S], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One metric family. `labels` follow those that identify the subject.

    `enumerated`: `read` returns one of a limited number of tuples, whose lines are cached. No ages are among them.
    """

    name: str
    help: str
    labels: tuple[str, ...]
    read: Read[S]
    type: MetricType = "gauge"
    enumerated: bool = False


@dataclass(frozen=True, slots=True)
class DirectMetric:
    """A metric that is updated directly, instead of read from an evaluation: `instrumentation` has its values."""

    name: str
    help: str
    labels: tuple[str, ...]
    type: MetricType
    buckets: tuple[float, ...] = ()


def number(value: Number) -> float:
    """A value as it is exposed."""
    if isinstance(value, datetime):
        return value.timestamp()
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def gauge(name: str, help_text: str, read: Callable[[S], Number | None]) -> Metric[S]:
    """A gauge without labels of its own. None yields no sample: the value is not known."""

    def samples(subject: S) -> Iterable[Sample]:
        value = read(subject)
        return () if value is None else (Sample((), value),)

    return Metric(name, help_text, (), samples)
