"""Recovery times through the whole exporter, from the simulated API over HTTP: failures of that method alone."""

import logging
from collections.abc import Iterator

import pytest

from exporter.cli.problems import grants, problems
from exporter.facts.collected import Collection
from exporter.metrics.exposition import TEXT
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.rules import Protection
from tests.support.builders import config, world

METHOD = "instances.getLatestRecoveryTime"


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A simulated API with one instance that has recovery times."""
    with Simulator(world({"shop-prod": WORLDS["demo"]()["shop-prod"]})) as simulator:
        yield simulator


def exporter_of(simulator: Simulator, **collect: object) -> Exporter:
    settings = config(simulator.url, ("shop-prod",), collect=collect)
    return Exporter(lambda: settings, simulator.world.clock, process_metrics=False)


def ignore(_finished: int, _total: int) -> None:
    """Ignore progress."""


def states(evaluation: Evaluation) -> dict[str, tuple[Protection, tuple[str, ...]]]:
    return {verdict.instance.id.name: (verdict.state, verdict.findings) for verdict in evaluation.verdicts}


def collect_up(exporter: Exporter) -> str:
    lines = b"".join(exporter.exposition(TEXT).parts).decode().splitlines()
    prefix = 'cloudsql_backup_exporter_collect_up{project="shop-prod",what="recovery_times"} '
    (line,) = (line for line in lines if line.startswith(prefix))
    return line.removeprefix(prefix)


@pytest.mark.parametrize("fault", ["forbidden", "quota", "unavailable", "html", "api-disabled"])
def test_failing_recovery_times_affect_neither_polls_nor_other_verdicts(
    simulator: Simulator, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    expected = states(exporter_of(simulator).poll_once(ignore))
    exporter = exporter_of(simulator, recovery_times=True, recovery_times_every="1ms")
    simulator.faults.add(Fault(fault, method=METHOD))
    for _round in range(2):
        evaluation = exporter.poll_all(ignore)
    (project,) = evaluation.projects
    assert project.up
    assert states(evaluation) == expected
    assert collect_up(exporter) == "0.0"
    failure = project.collected.status[Collection.RECOVERY_TIMES]
    assert problems(evaluation) == [failure.message]
    assert [record.message for record in caplog.records].count(failure.message) == 1
    granted = "\n".join(grants(evaluation))
    assert ("cloudsql.instances.get" in granted) is (fault == "forbidden")
    simulator.faults.clear()
    exporter.poll_all(ignore)
    assert collect_up(exporter) == "1.0"


def test_404_about_an_instance_is_an_answer(simulator: Simulator) -> None:
    simulator.faults.add(Fault("not-found", method=METHOD, instance="invoices"))
    exporter = exporter_of(simulator, recovery_times=True)
    evaluation = exporter.poll_once(ignore)
    assert collect_up(exporter) == "1.0"
    (invoices,) = (verdict for verdict in evaluation.verdicts if verdict.instance.id.name == "invoices")
    assert (invoices.state, invoices.recovery_point_source) == (Protection.PROTECTED, "backup")


def test_without_the_collection_no_request_is_made(simulator: Simulator) -> None:
    exporter_of(simulator).poll_once(ignore)
    off = list(simulator.requests)
    assert not [path for path in off if "getLatestRecoveryTime" in path]
    simulator.requests.clear()
    exporter_of(simulator, recovery_times=True).poll_once(ignore)
    assert len(simulator.requests) == len(off) + 1
