"""Browsers, and exporters for them to show."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from exporter.config import Config
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.simulator.backups import DeletedInstance
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project, fleet
from exporter.web import Sites, application
from tests.support.builders import DAY, config, world
from tests.support.firefox import Firefox, Tab, running_firefox
from tests.support.hostile import HOSTILE_NAMES
from tests.support.web import serving

CHROMIUM = "/usr/bin/chromium"
FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update")
AGE = timedelta(days=2)  # of the instances of a large fleet

OpenPage = Callable[..., Page]
OpenTab = Callable[..., Tab]


@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    """Debian's Chromium."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS])
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Browser) -> Iterator[OpenPage]:
    """Open a URL in a context of its own, with a clock that the test advances if its time is given.

    The test fails if a page logs anything, fails or contacts another host.
    """
    problems: list[str] = []
    with ExitStack() as contexts:

        def open_in_context(url: str, clock: datetime | None = None, **options: object) -> Page:
            context = contexts.enter_context(chromium.new_context(**options))  # type: ignore[arg-type]
            page = context.new_page()
            page.on("console", lambda message: problems.append(f"{page.url}: {message.text}"))
            page.on("pageerror", lambda error: problems.append(f"{page.url}: {error}"))
            page.on("dialog", lambda dialog: problems.append(f"{page.url}: dialog {dialog.message}"))
            host = "/".join(url.split("/")[:3])
            page.on("request", lambda sent: problems.append(sent.url) if not sent.url.startswith(host) else None)
            if clock:
                page.clock.install(time=clock)
            page.goto(url)
            return page

        yield open_in_context
    assert problems == []


@pytest.fixture(scope="package")
def firefox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Firefox]:
    """Debian's Firefox, which prefers dark pages."""
    with running_firefox(tmp_path_factory.mktemp("firefox"), dark=True) as browser:
        yield browser


@pytest.fixture
def open_tab(firefox: Firefox) -> Iterator[OpenTab]:
    """Open a URL in a tab of Firefox; the test fails if a page logs anything, fails or contacts another host."""
    with ExitStack() as tabs:

        def open_in_tab(url: str, **options: int) -> Tab:
            return tabs.enter_context(firefox.tab(url, **options))

        yield open_in_tab
        assert firefox.problems() == []


@pytest.fixture(scope="package")
def url() -> Iterator[str]:
    """The URL of an exporter that has polled the demo world."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        names = ("museum", "shop-prod", "warehouse-prod", "sealed")
        settings = config(simulator.url, names, collect={"user_labels": ["team"], "deleted_instances": True})
        with serving(
            application(_polled(simulator, settings), prefix="/sql", sites=Sites("http://localhost:1"))
        ) as server:
            yield f"{server.urls[0]}sql/"


@pytest.fixture(scope="package")
def hostile_url() -> Iterator[str]:
    """The URL of an exporter that has polled instances with hostile names and labels."""
    hostile = replace(SCENARIOS["failing"], settings={"userLabels": {"team": HOSTILE_NAMES[0]}})
    deleted = tuple(DeletedInstance(name, DAY) for name in HOSTILE_NAMES)
    museum = Project(dict.fromkeys(HOSTILE_NAMES, hostile), deleted=deleted)
    with Simulator(world({"museum": museum})) as simulator:
        exporter = _polled(simulator, config(simulator.url, collect={"deleted_instances": True}))
        with serving(application(exporter)) as server:
            yield server.urls[0]


@pytest.fixture(scope="package")
def fleet_url() -> Iterator[str]:
    """The URL of an exporter that has polled 10,000 instances, which are young so that few runs are to be read."""
    projects = {
        name: Project({key: replace(scenario, created_ago=AGE) for key, scenario in project.instances.items()})
        for name, project in fleet(10_000, 40).items()
    }
    with Simulator(world(projects)) as simulator:
        exporter = _polled(simulator, config(simulator.url, tuple(projects)))
        with serving(application(exporter)) as server:
            yield server.urls[0]


def _polled(simulator: Simulator, settings: Config) -> Exporter:
    exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    return exporter
