"""The exposition: both formats, content negotiation, and completeness of the catalogue."""

import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from operator import is_

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.facts.snapshot import SearchStatus, Snapshot
from exporter.metrics import catalogue
from exporter.metrics.exposition import OPENMETRICS, TEXT, Exposition, exposition_type
from exporter.metrics.instrumentation import Instrumentation
from exporter.metrics.metric import Age
from exporter.simulator import WORLDS
from exporter.verdict.evaluate import evaluate
from tests.support.builders import DAY, EXPORTER_INFO, MINUTE, NOW, SECOND, world
from tests.support.expositions import evaluate_world, evaluate_world_twice, families, render_exposition

DEMO = {name: project for name, project in WORLDS["demo"]().items() if not project.access_error}


def demo(content_type: str) -> str:
    return render_exposition(evaluate_world(world(DEMO)), content_type, Instrumentation()).decode()


def test_both_formats_have_the_same_samples() -> None:
    def samples(collected: Sequence[Family]) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
        return {
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in collected
            for sample in family.samples
            if not sample.name.startswith(("process_", "python_"))
        }

    text, openmetrics = list(read_text(demo(TEXT))), list(read_openmetrics(demo(OPENMETRICS)))
    assert samples(text) == samples(openmetrics)
    assert len(samples(text)) > 1000


def test_promtool_accepts_the_exposition() -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=demo(TEXT), capture_output=True, text=True)  # noqa: S607, PLW1510
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_declared_metric_has_samples_after_two_days_of_the_demo() -> None:
    collected = families(evaluate_world_twice(world(DEMO), 2 * DAY))
    exposed = {sample.name.removesuffix("_sum") for family in collected for sample in family.samples}
    declared = {metric.name for section in catalogue.sections() for metric in section.metrics}
    searches = {metric.name for metric in catalogue.SEARCH}  # the demo is configured without searches
    assert declared - exposed == searches


def test_sections_rendered_on_every_scrape_are_those_not_cached() -> None:
    """A poll that finds nothing new changes no cached section."""
    evaluation = evaluate_world(world(DEMO))
    snapshot = Snapshot().with_search("state:ACTIVE", SearchStatus(True, True, tuple(DEMO)))
    exposition = Exposition(
        lambda before: evaluate(snapshot, evaluation.config, EXPORTER_INFO, NOW, before),
        lambda: NOW,
        Instrumentation(process=False).exposition,
    )
    scrapes = []
    for duration in (SECOND, MINUTE):
        for status in evaluation.projects:
            assert status.scan
            snapshot = snapshot.with_project(status.succeeded(replace(status.scan), duration))
        exposition.render()
        scrapes.append(exposition.body(TEXT, gzip=False).parts)
    (*cached, _), (*cached_after, rendered_per_scrape) = scrapes
    assert len(cached) == len(cached_after)
    assert all(map(is_, cached, cached_after))
    evaluation = evaluate(snapshot, evaluation.config, EXPORTER_INFO, NOW)
    for section in catalogue.sections(evaluation.config.collect.user_labels):
        for metric in section.metrics:
            values = [sample.value for subject in section.subjects(evaluation) for sample in metric.read(subject)]
            if values and not isinstance(values[0], Age):  # ages are rendered on every scrape in any section
                assert (metric.name in family_names(rendered_per_scrape)) is not section.cached, metric.name
                assert (metric.name in family_names(b"".join(cached))) is section.cached, metric.name


def family_names(exposition: bytes) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", exposition.decode(), re.MULTILINE))


def test_samples_of_a_family_have_the_same_labels() -> None:
    for family in families(evaluate_world(world(DEMO))):
        assert len({frozenset(sample.labels) for sample in family.samples}) == 1, family.name


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/plain", TEXT),
        ("application/json", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", OPENMETRICS),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.5", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=often", TEXT),
    ],
)
def test_format_is_negotiated_by_the_accept_header(accept: str, expected: str) -> None:
    assert exposition_type(accept) == expected
