"""Write the pictures of the pages in docs/images: python -m scripts.screenshots.

They show projects of the demo world at a fixed time, after some days of polls, in Debian's Chromium.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from playwright.sync_api import sync_playwright

from exporter.cli.demo import demo_config
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, SimulatedClock, Simulator, World
from exporter.web import Sites, application
from tests.support.web import serving

FOLDER = Path(__file__).parent.parent / "docs" / "images"
TIME = datetime(2026, 11, 24, 3, 12, tzinfo=UTC)
DAYS = 9  # since then, every instance exists
POLLS_PER_DAY = 24
PROJECTS = ("shop-prod", "warehouse-prod", "sealed")  # of the demo world; museum has instances of every kind
SITES = Sites("https://grafana.example", "https://alertmanager.example")


@dataclass(frozen=True)
class Picture:
    """A page, below the URL of the exporter, and the size of its picture in pixels."""

    name: str
    path: str
    width: int
    height: int


PICTURES = (
    Picture("status", "", 1240, 1000),
    Picture("instance-page", "instances/warehouse-prod/ledger", 1240, 1168),
)


@contextmanager
def exporter_url() -> Iterator[str]:
    """The URL of an exporter that has polled the projects for some days."""
    clock = SimulatedClock(TIME, 0)
    world = World({name: WORLDS["demo"]()[name] for name in PROJECTS}, clock)  # leads up to the clock's time
    clock.advance(timedelta(days=-DAYS))
    with Simulator(world) as simulator:
        settings = demo_config(simulator.url, 0)
        exporter = Exporter(lambda: settings, clock, process_metrics=False)
        exporter.poll_all(lambda _done, _total: None)
        for _ in range(DAYS * POLLS_PER_DAY):
            clock.advance(timedelta(days=1) / POLLS_PER_DAY)
            exporter.poll_all(lambda _done, _total: None)
        with serving(application(exporter, sites=SITES)) as server:
            yield server.urls[0]


def main() -> None:
    """Write each picture, light and dark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=FOLDER)
    folder: Path = parser.parse_args().folder
    with exporter_url() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        for picture in PICTURES:
            for scheme, suffix in (("light", ""), ("dark", "-dark")):
                page = browser.new_page(
                    viewport={"width": picture.width, "height": picture.height},
                    color_scheme=scheme,  # type: ignore[arg-type]  # one of its literals
                    java_script_enabled=False,  # ages stand still
                )
                page.goto(url + picture.path)
                page.screenshot(path=folder / f"{picture.name}{suffix}.png")
        browser.close()


if __name__ == "__main__":
    main()
