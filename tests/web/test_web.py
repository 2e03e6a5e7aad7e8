"""The HTTP side of a running exporter, asked over real sockets."""

import gzip
import json
import urllib.request
from collections.abc import Iterator

import pytest

from exporter.config import Config, ConfigError, Problem
from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.web import WebServer, application, split_address
from tests.support.builders import config, eventually, world
from tests.support.processes import fetch

PROJECTS = ("museum", "shop-prod")


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator


def serving(simulator: Simulator, settings: Config, *, lifecycle: bool = False) -> tuple[Exporter, WebServer]:
    exporter = Exporter(lambda: settings, simulator.world.clock)
    return exporter, WebServer(application(exporter, lifecycle=lifecycle), ["127.0.0.1:0"])


@pytest.fixture(scope="module")
def url(simulator: Simulator) -> Iterator[str]:
    exporter, server = serving(simulator, config(simulator.url, PROJECTS))
    server.start()
    exporter.start()
    assert eventually(exporter.ready)
    yield server.urls[0]
    exporter.stop()
    server.stop()


def test_metrics_are_text_by_default_and_openmetrics_where_asked_for(url: str) -> None:
    assert fetch(f"{url}metrics").headers["content-type"] == TEXT
    told = fetch(f"{url}metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert told.headers["content-type"] == OPENMETRICS
    assert told.text.endswith("# EOF\n")


def test_metrics_are_compressed_for_those_who_accept_it(url: str) -> None:
    request = urllib.request.Request(f"{url}metrics", headers={"Accept-Encoding": "gzip"})  # noqa: S310 (loopback)
    with urllib.request.urlopen(request) as reply:  # noqa: S310 (loopback)
        assert reply.headers["Content-Encoding"] == "gzip"
        assert b"cloudsql_backup_protection" in gzip.decompress(reply.read())


@pytest.mark.parametrize("path", ["", "metrics", "api/v1/status", "-/healthy", "-/ready"])
def test_head_works_and_anything_but_get_and_head_is_405(url: str, path: str) -> None:
    assert (fetch(url + path).status, fetch(url + path, "HEAD").status) == (200, 200)
    assert fetch(url + path, "HEAD").text == ""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert fetch(url + path, method).status == 405, method


def test_reload_is_closed_unless_lifecycle_is_enabled(url: str) -> None:
    assert fetch(f"{url}-/reload", "POST").status == 404


def test_the_status_page_names_what_is_wrong_and_why_worst_first(url: str) -> None:
    page = fetch(url).text
    assert page.index('class="state unprotected">unprotected</span></td>') < page.index('at_risk">at risk</span></td>')
    assert "there is no backup that could be restored" in page
    assert "the last automated run failed: DISK_SNAPSHOT_FAILED" in page
    assert "a read replica: its primary is backed up" in page


def test_the_json_has_the_same_verdicts(url: str) -> None:
    told = json.loads(fetch(f"{url}api/v1/status").text)
    by_name = {(found["project"], found["instance_id"]): found for found in told["instances"]}
    failing = by_name["museum", "failing"]
    assert (failing["state"], failing["findings"]) == ("unprotected", ["stale_critical", "stale", "last_run_failed"])
    assert failing["last_runs"] == {"automated": "failed"}
    assert by_name["museum", "stopped"]["exempt"] == "stopped"
    assert sum(told["totals"].values()) == len(by_name) == 37
    assert {project["project"]: project["result"] for project in told["projects"]} == {
        "museum": "success",
        "shop-prod": "success",
    }


def test_what_the_api_said_cannot_become_markup_of_the_page() -> None:
    with Simulator(world({"museum": Project({"<script>alert(1)</script>": SCENARIOS["healthy"]})})) as simulator:
        exporter, server = serving(simulator, config(simulator.url, ("museum",)))
        server.start()
        exporter.start()
        assert eventually(exporter.ready)
        page = fetch(server.urls[0]).text
        exporter.stop()
        server.stop()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_the_page_says_first_what_could_not_be_read_and_how_old_its_facts_are(simulator: Simulator) -> None:
    exporter, server = serving(simulator, config(simulator.url, ("sealed", "shop-prod")))
    simulator.faults.add(Fault("unreachable-region", project="shop-prod"))
    server.start()
    exporter.start()
    assert eventually(exporter.ready)
    page = fetch(server.urls[0]).text
    exporter.stop()
    server.stop()
    simulator.faults.clear()
    assert "by facts that are up to 0s old" in page
    assert page.index("grant cloudsql.instances.list") < page.index("<h2>Instances</h2>")
    assert page.index("the API cannot reach europe-west4") < page.index("<h2>Instances</h2>")


def test_not_ready_while_nothing_could_be_read_and_still_every_answer_comes(simulator: Simulator) -> None:
    exporter, server = serving(simulator, config(simulator.url, ("sealed",)))
    server.start()
    exporter.start()
    assert eventually(lambda: bool(exporter.evaluate().projects))
    told = fetch(f"{server.urls[0]}metrics").text
    statuses = {path: fetch(server.urls[0] + path).status for path in ("", "-/ready", "-/healthy")}
    exporter.stop()
    server.stop()
    assert statuses == {"": 200, "-/ready": 503, "-/healthy": 200}
    assert 'cloudsql_backup_exporter_project_up{project="sealed"} 0.0' in told
    assert 'polls_total{project="sealed",result="forbidden"} 1.0' in told
    assert "cloudsql_backup_protection" not in told


def test_a_scrape_never_waits_for_a_poll(simulator: Simulator) -> None:
    simulator.faults.add(Fault("slow", project="warehouse-prod", seconds=20))
    exporter, server = serving(simulator, config(simulator.url, ("warehouse-prod",)))
    server.start()
    exporter.start()
    told = fetch(f"{server.urls[0]}metrics")  # fails after 20 seconds, as the poll would
    exporter.stop()
    server.stop()
    simulator.faults.clear()
    assert told.status == 200
    assert "cloudsql_backup_exporter_build_info" in told.text


def test_a_reload_puts_a_new_configuration_in_force_and_a_bad_one_changes_nothing(simulator: Simulator) -> None:
    wanted: list[Config | ConfigError] = [config(simulator.url, PROJECTS)]

    def read() -> Config:
        if isinstance(wanted[0], ConfigError):
            raise wanted[0]
        return wanted[0]

    exporter = Exporter(read, simulator.world.clock)
    server = WebServer(application(exporter, lifecycle=True), ["127.0.0.1:0"])
    server.start()
    exporter.start()
    assert eventually(exporter.ready)
    url = server.urls[0]

    wanted[0] = ConfigError([Problem("c.yaml", 3, "poll.interval", "must be longer than 0s")])
    denied = fetch(f"{url}-/reload", "POST")
    after_refusal = fetch(f"{url}metrics").text
    wanted[0] = config(simulator.url, ("museum",))
    accepted = fetch(f"{url}-/reload", "PUT")
    gone = eventually(lambda: 'project="shop-prod"' not in fetch(f"{url}metrics").text)
    after_reload = fetch(f"{url}metrics").text
    exporter.stop()
    server.stop()

    assert (denied.status, denied.text) == (400, "c.yaml:3: poll.interval: must be longer than 0s\n")
    assert "cloudsql_backup_exporter_config_last_reload_successful 0.0" in after_refusal
    assert 'project_up{project="shop-prod"} 1.0' in after_refusal
    assert (accepted.status, gone) == (200, True)
    assert "cloudsql_backup_exporter_config_last_reload_successful 1.0" in after_reload
    assert 'project_up{project="museum"} 1.0' in after_reload


@pytest.mark.parametrize("address", ["10853", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_what_is_no_address_says_what_one_looks_like(address: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        split_address(address)


def test_several_addresses_serve_the_same(simulator: Simulator) -> None:
    exporter = Exporter(lambda: config(simulator.url), simulator.world.clock)
    server = WebServer(application(exporter), ["127.0.0.1:0", "127.0.0.1:0"])
    server.start()
    answers = [fetch(f"{url}-/healthy").text for url in server.urls]
    server.stop()
    assert answers == ["healthy\n", "healthy\n"]
