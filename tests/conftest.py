"""Fixtures shared by several test files."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from exporter.simulator import WORLDS, Simulator
from tests.support.builders import world

settings.register_profile("any-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any-machine")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated API of the demo world, whose clock stands still at NOW."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run real programs: they take longest, and mostly wait."""
    items.sort(key=lambda item: "system" not in item.path.parts)
