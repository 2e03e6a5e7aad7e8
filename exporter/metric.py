"""What a metric is: a name, a help text, a type, labels, and a pure function that reads it from its subject."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Generic, Literal, NamedTuple, TypeVar

from exporter.view import View

PREFIX = "cloudsql_backup_"

S = TypeVar("S")

MetricType = Literal["gauge", "counter", "summary", "histogram"]
Number = float | int | bool | datetime | timedelta | None


class Sample(NamedTuple):
    """Values of the metric's own labels, a value, and what a summary's sample adds to the metric's name.

    A value that is a moment stands for the time since then, in seconds, whenever somebody looks.
    """

    labels: tuple[str, ...]
    value: float | datetime
    suffix: str = ""


Read = Callable[[S], Iterable[Sample]]


@dataclass(frozen=True, slots=True)
class Metric(Generic[S]):
    """One metric family. `labels` come after those that name the subject."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Read[S]
    type: MetricType = "gauge"


@dataclass(frozen=True, slots=True)
class Section(Generic[S]):
    """Metrics of one kind of subject: which subjects a view has, and the labels that name one."""

    title: str
    identity: tuple[str, ...]
    subjects: Callable[[View], Iterable[S]]
    identify: Callable[[S], tuple[str, ...]]
    metrics: tuple[Metric[S], ...]


@dataclass(frozen=True, slots=True)
class Meter:
    """A metric that the exporter counts as it works, instead of reading it from a view."""

    name: str
    help: str
    labels: tuple[str, ...]
    type: MetricType
    buckets: tuple[float, ...] = ()


def number(value: Number) -> float | None:
    """A sample's value: Unix seconds, seconds, 0 or 1."""
    if isinstance(value, datetime):
        return value.timestamp()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return None if value is None else float(value)


def gauge(name: str, meaning: str, read: Callable[[S], Number]) -> Metric[S]:
    """A gauge with no labels of its own."""

    def samples(subject: S) -> Iterator[Sample]:
        value = number(read(subject))
        if value is not None:
            yield Sample((), value)

    return Metric(PREFIX + name, meaning, (), samples)
