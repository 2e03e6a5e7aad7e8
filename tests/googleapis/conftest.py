"""Fixtures of the tests of Google's APIs."""

from collections.abc import Iterator

import pytest

from exporter.simulator import WORLDS, Simulator
from tests.support.builders import world


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """A running simulated API with the projects of the demo."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator
