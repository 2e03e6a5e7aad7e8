"""Fixtures shared by several test files."""

from collections.abc import Iterator
from functools import cache

import pytest
from hypothesis import settings

from exporter.googleapis import transport
from exporter.simulator import WORLDS, Simulator
from tests.support.builders import world

settings.register_profile("any-machine", deadline=None)  # a busy machine is no failure
settings.load_profile("any-machine")


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    """The simulated API of the demo world, whose clock stands still at NOW."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator


@pytest.fixture(autouse=True, scope="session")
def shared_ssl_context() -> Iterator[None]:
    """Read the trusted authorities once, not for each client: it takes 60 ms, and the simulated API has no TLS."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(transport, "_ssl_context", cache(transport._ssl_context))
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run other programs: they take longest, and mostly wait."""
    folders = ("system", "browser", "deploy")

    def position(item: pytest.Item) -> int:
        return next((number for number, folder in enumerate(folders) if folder in item.path.parts), len(folders))

    items.sort(key=position)
