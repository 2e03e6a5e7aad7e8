"""ApiClient: observed requests, and one connection per thread."""

import threading

import pytest

from exporter.facts.record import ProjectScan
from exporter.scan.source import ALL_INSTANCES, SourceError
from exporter.simulator import Fault, Simulator
from tests.googleapis.helpers import google_source, scan_project
from tests.support.builders import WorldSource


def test_requests_are_observed_with_method_and_code(simulator: Simulator) -> None:
    observations: list[tuple[str, str]] = []
    source = google_source(simulator.url, observe=lambda method, code, _seconds: observations.append((method, code)))
    scan_project(source, "museum")
    simulator.faults.add(Fault("quota", times=1))
    simulator.faults.add(Fault("reset"))
    for _ in range(2):
        with pytest.raises(SourceError):
            list(source.backup_runs("museum", ALL_INSTANCES))
    assert observations == [
        ("instances.list", "200"),
        ("backupRuns.list", "200"),
        ("backupRuns.list", "429"),
        ("backupRuns.list", "unreachable"),
    ]


def test_threads_use_separate_connections(simulator: Simulator) -> None:
    source = google_source(simulator.url)
    expected = scan_project(WorldSource(simulator.world), "museum")
    scans: list[ProjectScan] = []
    threads = [threading.Thread(target=lambda: scans.append(scan_project(source, "museum"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert scans == [expected] * 8
