"""Sections of the catalogue: metrics that share their subjects and the labels that identify these."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from exporter.metrics.metric import Metric
from exporter.verdict.evaluate import Evaluation

S = TypeVar("S")


@dataclass(frozen=True, slots=True)
class Section(Generic[S]):
    """Metrics of one kind of subject.

    `subjects` reads the subjects from an evaluation, `identify` the values of the `identity` labels from a subject.
    `cached`: samples change with the facts only, so that a rendered section is reused until then. A section that
    changes on every poll is not worth it.
    """

    title: str
    identity: tuple[str, ...]
    subjects: Callable[[Evaluation], Iterable[S]]
    identify: Callable[[S], tuple[str, ...]]
    metrics: tuple[Metric[S], ...]
    cached: bool = True
