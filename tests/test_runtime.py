"""Reloads of a running exporter."""

from collections.abc import Iterator

import pytest

from exporter.config import Config
from exporter.facts.model import PollResult
from exporter.runtime import Exporter
from exporter.simulator import Simulator
from exporter.verdict.evaluate import Evaluation
from tests.support.builders import config, eventually

PROJECT = "shop-prod"


class Setup:
    """An exporter that polls a simulated API, and the policies that it reads from its configuration."""

    def __init__(self, simulator: Simulator) -> None:
        self._url = simulator.url
        self.policies: list[object] = []
        self.exporter = Exporter(self._config, simulator.world.clock, process_metrics=False)

    def _config(self) -> Config:
        return config(self._url, (PROJECT,), policies=self.policies)

    def polled(self, before: Evaluation | None = None) -> Evaluation:
        """An evaluation after another poll."""
        polls = before.projects[0].polls[PollResult.SUCCESS] if before else 0
        assert eventually(lambda: self._successful_polls() > polls)
        return self.exporter.evaluate(before)

    def _successful_polls(self) -> int:
        status = self.exporter.snapshot.projects.get(PROJECT)
        return status.polls[PollResult.SUCCESS] if status else 0


@pytest.fixture
def setup(simulator: Simulator) -> Iterator[Setup]:
    setup = Setup(simulator)
    setup.exporter.start()
    yield setup
    setup.exporter.close()


def test_reload_of_an_unchanged_configuration_keeps_the_verdicts(setup: Setup) -> None:
    before = setup.polled()
    setup.exporter.reload()
    after = setup.polled(before)
    assert after.verdicts is before.verdicts


def test_reload_of_changed_policies_replaces_the_verdicts(setup: Setup) -> None:
    before = setup.polled()
    setup.policies.append({"expected": "never"})
    setup.exporter.reload()
    after = setup.polled(before)
    assert {verdict.state for verdict in after.verdicts} == {"exempt"} != {verdict.state for verdict in before.verdicts}
