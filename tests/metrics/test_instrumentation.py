"""The metrics that are updated directly."""

from collections.abc import Callable

import pytest

from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.metrics.instrumentation import Instrumentation
from tests.support.expositions import encode_families


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_after_every_change_the_bytes_are_those_of_the_client_library(content_type: str) -> None:
    instrumentation = Instrumentation(process=False)
    changes: list[Callable[[], None]] = [
        lambda: None,
        lambda: instrumentation.request("instances.list", "200", 0.25),
        lambda: instrumentation.request("instances.list", 'a\\"\n', 1e7),
        lambda: instrumentation.retry("backupRuns.list"),
        lambda: instrumentation.unreadable("instance"),
    ]
    rendered = set()
    for change in changes:
        change()
        text = instrumentation.exposition(content_type)
        assert text == encode_families(content_type, instrumentation.registry.collect()).removesuffix(b"# EOF\n")
        assert text == instrumentation.exposition(content_type)
        rendered.add(text)
    assert len(rendered) == len(changes)


@pytest.mark.parametrize("content_type", [TEXT, OPENMETRICS])
def test_process_metrics_are_those_of_the_client_library(content_type: str) -> None:
    def names(text: bytes) -> list[bytes]:
        return [line.split(b" ")[0] for line in text.splitlines()]

    instrumentation = Instrumentation()
    text = instrumentation.exposition(content_type)
    families = [*instrumentation.registry.collect(), *instrumentation._process_registry.collect()]
    assert names(text) == names(encode_families(content_type, families).removesuffix(b"# EOF\n"))
    assert b"process_cpu_seconds_total" in text
