"""Metrics: a name, a help text, a type, labels, and a pure function that reads samples from a subject."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, NamedTuple, TypeVar

S = TypeVar("S")

MetricType = Literal["gauge", "counter", "summary", "histogram"]
Number = float | int | bool | datetime | timedelta | None


class Sample(NamedTuple):
    """Values of the metric's own labels, a value, and the suffix of a summary's sample.

    A datetime as value is exposed as its age, the seconds from then to the scrape.
    """

    labels: tuple[str, ...]
    value: float | datetime
    suffix: str = ""


Read = Callable[[S], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One metric family. `labels` follow those that identify the subject."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Read[S]
    type: MetricType = "gauge"


@dataclass(frozen=True, slots=True)
class DirectMetric:
    """A metric that is updated directly, instead of read from an evaluation: `instrumentation` has its values."""

    name: str
    help: str
    labels: tuple[str, ...]
    type: MetricType
    buckets: tuple[float, ...] = ()


def number(value: Number) -> float | None:
    """The value of a sample: Unix seconds, seconds, 0 or 1; None if it is not known."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return None if value is None else float(value)


def gauge(name: str, help_text: str, read: Callable[[S], Number]) -> Metric[S]:
    """A gauge without labels of its own."""

    def samples(subject: S) -> Iterator[Sample]:
        value = number(read(subject))
        if value is not None:
            yield Sample((), value)

    return Metric(name, help_text, (), samples)
