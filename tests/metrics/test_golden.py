"""Golden files: the exposition of a world at a fixed time, byte by byte, and the series of every scenario."""

import pytest

from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.simulator import WORLDS
from exporter.simulator.backup_plans import GOLD
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.support.builders import config, world
from tests.support.expositions import evaluate_world, families, render_exposition, series_lines
from tests.support.golden import assert_golden

SHOP = {"shop-prod": WORLDS["demo"]()["shop-prod"]}


@pytest.mark.parametrize(("content_type", "file"), [(TEXT, "shop.prom"), (OPENMETRICS, "shop.openmetrics")])
def test_exposition_of_the_shop_project(content_type: str, file: str) -> None:
    assert_golden(file, render_exposition(evaluate_world(world(SHOP)), content_type).decode())


@pytest.mark.parametrize("name", sorted(SCENARIOS))
def test_series_of_scenario(name: str) -> None:
    museum = world({"museum": Project({name: SCENARIOS[name]}), "vaults": Project(plans=(GOLD,))})
    lines = [f"# {SCENARIOS[name].description}; now it is {museum.clock():%Y-%m-%dT%H:%M:%SZ}"]
    lines += series_lines(families(evaluate_world(museum, config(collect={"backup_dr": True}))), name)
    assert_golden(f"scenarios/{name}.txt", "\n".join(lines) + "\n")
