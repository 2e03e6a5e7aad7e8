"""The metrics that are updated directly."""

import time
from collections.abc import Callable
from datetime import timedelta

import pytest

from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.metrics.instrumentation import Instrumentation, MethodStatistics
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


def test_process_metrics_are_read_at_most_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    def cpu_seconds() -> bytes:
        return next(line for line in instrumentation.exposition(TEXT).splitlines() if line.startswith(b"process_cpu"))

    monotonic, instrumentation = 1000.0, Instrumentation()
    monkeypatch.setattr("time.monotonic", lambda: monotonic)
    first = cpu_seconds()
    while time.process_time() < float(first.split()[1]) + 0.05:
        pass  # use CPU time
    assert cpu_seconds() == first
    monotonic += 1
    assert cpu_seconds() != first


def test_statistics_of_methods_are_those_of_their_metrics() -> None:
    instrumentation = Instrumentation(process=False)
    assert instrumentation.methods() == []
    for code, duration in (("403", 0.25), ("200", 0.5), ("200", 1.0)):
        instrumentation.request("instances.list", code, duration)
    instrumentation.request("backupRuns.list", "timeout", 30.0)
    instrumentation.retry("backupRuns.list")
    instrumentation.unreadable("instance")
    assert instrumentation.methods() == [
        MethodStatistics("backupRuns.list", {"timeout": 1}, 1, timedelta(seconds=30)),
        MethodStatistics("instances.list", {"200": 2, "403": 1}, 0, timedelta(seconds=1.75)),
    ]
    assert instrumentation.unreadable_items() == {"instance": 1, "backup_run": 0, "backup": 0}
