"""The exposition of a fixed world at a fixed moment, to the byte; and what each scenario shows, in short."""

import pytest

from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.simulator import WORLDS
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.builders import config, world
from tests.support.expositions import exposed, families, seen, told
from tests.support.golden import assert_golden

SHOP = {"shop-prod": WORLDS["demo"]()["shop-prod"]}


@pytest.mark.parametrize(("content_type", "file"), [(TEXT, "shop.prom"), (OPENMETRICS, "shop.openmetrics")])
def test_the_exposition_of_the_shop(content_type: str, file: str) -> None:
    assert_golden(file, exposed(seen(world(SHOP)), content_type).decode())


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_what_a_scenario_shows(name: str) -> None:
    museum = world({"museum": Project({name: SCENARIOS[name]})})
    lines = [f"# {SCENARIOS[name].description}; now it is {museum.clock():%Y-%m-%dT%H:%M:%SZ}"]
    lines += told(families(seen(museum, config())), name)
    assert_golden(f"scenarios/{name}.txt", "\n".join(lines) + "\n")
