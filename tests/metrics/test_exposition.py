"""The exposition: formats, negotiation, and what the client library's own parser reads back."""

import subprocess
from collections.abc import Sequence

import pytest
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from exporter.metrics import catalogue
from exporter.metrics.exposition import OPENMETRICS, TEXT, exposition_type
from exporter.metrics.instrumentation import Instrumentation
from exporter.simulator import WORLDS
from tests.support.builders import DAY, world
from tests.support.expositions import exposed, families, seen, seen_again

DEMO = {name: project for name, project in WORLDS["demo"]().items() if not project.access_error}


def demo(content_type: str) -> str:
    return exposed(seen(world(DEMO)), content_type, Instrumentation()).decode()


def test_both_formats_hold_the_same_samples() -> None:
    def samples(read: Sequence[Family]) -> set[tuple[str, frozenset[tuple[str, str]], float]]:
        return {
            (sample.name, frozenset(sample.labels.items()), sample.value)
            for family in read
            for sample in family.samples
            if not sample.name.startswith(("process_", "python_"))
        }

    text, openmetrics = list(read_text(demo(TEXT))), list(read_openmetrics(demo(OPENMETRICS)))
    assert samples(text) == samples(openmetrics)
    assert len(samples(text)) > 1000


def test_promtool_has_nothing_to_say() -> None:
    checked = subprocess.run(["promtool", "check", "metrics"], input=demo(TEXT), capture_output=True, text=True)  # noqa: S607, PLW1510
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_every_declared_metric_has_samples_after_two_days_in_the_demo_world() -> None:
    """A metric that never shows is a metric that nobody can rely on."""
    ready = families(seen_again(world(DEMO), 2 * DAY))
    told = {sample.name.removesuffix("_sum") for family in ready for sample in family.samples}
    read_from_views = {metric.name for section in catalogue.sections() for metric in section.metrics}
    searches = {metric.name for metric in catalogue.SEARCH}  # this view has none
    assert read_from_views - told == searches


def test_each_sample_has_a_value_for_every_label() -> None:
    for family in families(seen(world(DEMO))):
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
def test_the_format_is_the_one_asked_for(accept: str, expected: str) -> None:
    assert exposition_type(accept) == expected
