"""The HTTP endpoints of a running exporter, over real sockets."""

import gzip
import http.client
import json
import re
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

import pytest

from exporter.config import Config, ConfigError, Problem
from exporter.metrics.exposition import OPENMETRICS, TEXT
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.web import Service, WebServer, application, health_application, listen, path_prefix, split_address
from tests.support.builders import config, eventually, world
from tests.support.processes import fetch
from tests.support.web import serving as serving_app

PROJECTS = ("museum", "shop-prod")


@dataclass(frozen=True)
class Served:
    """A running exporter and the URL of its web server."""

    exporter: Exporter
    url: str


@contextmanager
def serving(
    simulator: Simulator, settings: Config | Callable[[], Config], *, lifecycle: bool = False
) -> Iterator[Served]:
    """An exporter that polls the simulator, with its web server; both are stopped at the end of the block."""
    exporter = Exporter(settings if callable(settings) else lambda: settings, simulator.world.clock)
    server = WebServer(Service(application(exporter, lifecycle=lifecycle), [listen("127.0.0.1:0")]))
    server.start()
    exporter.start()
    try:
        yield Served(exporter, server.urls[0])
    finally:
        exporter.stop()
        server.stop()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of an exporter that has polled two projects of the demo world."""
    with Simulator(world(WORLDS["demo"]())) as simulator, serving(simulator, config(simulator.url, PROJECTS)) as served:
        assert eventually(served.exporter.ready)
        yield served.url


def test_metrics_are_text_by_default_and_openmetrics_if_accepted(url: str) -> None:
    assert fetch(f"{url}metrics").headers["content-type"] == TEXT
    response = fetch(f"{url}metrics", Accept="application/openmetrics-text; version=1.0.0")
    assert response.headers["content-type"] == OPENMETRICS
    assert response.text.endswith("# EOF\n")


def test_metrics_are_compressed_when_gzip_is_accepted(url: str) -> None:
    request = urllib.request.Request(f"{url}metrics", headers={"Accept-Encoding": "gzip"})  # noqa: S310 (loopback)
    with urllib.request.urlopen(request) as response:  # noqa: S310 (loopback)
        assert response.headers["Content-Encoding"] == "gzip"
        assert b"cloudsql_backup_protection" in gzip.decompress(response.read())


@pytest.mark.parametrize("path", ["", "metrics", "api/v1/status", "-/healthy", "-/ready"])
def test_get_and_head_are_allowed_and_other_methods_return_405(url: str, path: str) -> None:
    assert (fetch(url + path).status, fetch(url + path, "HEAD").status) == (200, 200)
    assert fetch(url + path, "HEAD").text == ""
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert fetch(url + path, method).status == 405, method


@pytest.fixture(scope="module")
def reloadable() -> Iterator[str]:
    """The URL of an exporter with `--web.enable-lifecycle`."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        settings = config(simulator.url, ("museum",))
        with serving(simulator, settings, lifecycle=True) as served:
            assert eventually(served.exporter.ready)
            yield served.url


@pytest.mark.parametrize(
    ("path", "allowed"),
    [(path, {"GET", "HEAD"}) for path in ("", "metrics", "api/v1/status", "-/healthy", "-/ready")]
    + [("-/reload", {"POST", "PUT"})],
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND"])
def test_a_method_that_is_not_allowed_returns_405_with_those_that_are(
    reloadable: str, path: str, allowed: set[str], method: str
) -> None:
    response = fetch(reloadable + path, method)
    if method in allowed:
        assert response.status == 200
    else:
        assert (response.status, set(response.headers["allow"].split(", "))) == (405, allowed)


@pytest.mark.parametrize(
    "path",
    ["metrics/", "-/healthy/", "api/v1/status/", "api", "-/reload", "favicon.ico", "%2e%2e/etc/passwd", "/metrics"],
)
def test_other_paths_return_404_and_never_redirect_to_the_host_of_the_request(url: str, path: str) -> None:
    response = fetch(url + path, Host="evil.example")
    assert (response.status, response.headers.get("location"), response.text) == (404, None, "Not Found")


PREFIX = "/backup/cloud sql"


@pytest.fixture(scope="module")
def prefixed() -> Iterator[str]:
    """The URL, without a path, of an exporter with `--web.external-url`."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        exporter = Exporter(lambda: config(simulator.url), simulator.world.clock, process_metrics=False)
        with serving_app(application(exporter, lifecycle=True, prefix=PREFIX)) as server:
            yield server.urls[0]


@pytest.mark.parametrize(
    "path", ["", "windows", "deleted", "exporter", "metrics", "api/v1/status", "api/v1/openapi.json", "-/healthy"]
)
def test_everything_is_served_under_the_path_of_the_external_url(prefixed: str, path: str) -> None:
    assert fetch(f"{prefixed}backup/cloud%20sql/{path}").status == 200
    if path:
        assert fetch(f"{prefixed}{path}").status == 404
        assert fetch(f"{prefixed}backup/cloud%20sql/{path}/", Host="evil.example").status == 404
    assert fetch(f"{prefixed}backup/cloud%20sql/{path}", "PATCH").status == 405


@pytest.mark.parametrize("path", ["", "windows", "deleted", "exporter"])
def test_links_of_the_page_work_under_the_path_of_the_external_url(prefixed: str, path: str) -> None:
    page_url = f"{prefixed}backup/cloud%20sql/{path}"
    links = re.findall(r'href="([^"]+)"', fetch(page_url).text)
    assert {"metrics", "api/v1/status"} <= set(links)
    assert [fetch(urljoin(page_url, link)).status for link in links] == [200] * len(links)


@pytest.mark.parametrize("path", ["/", "/backup/cloud%20sql"])
def test_redirects_to_the_page_contain_no_host(prefixed: str, path: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(prefixed).netloc, timeout=20)
    connection.request("GET", path, headers={"Host": "evil.example", "X-Forwarded-Host": "evil.example"})
    with connection.getresponse() as response:
        assert (response.status, response.headers["location"]) == (302, "/backup/cloud%20sql/")
    connection.close()


@pytest.mark.parametrize(
    ("external_url", "prefix"),
    [
        ("", ""),
        ("http://proxy.example", ""),
        ("https://proxy.example/", ""),
        ("https://proxy.example:8443/a/b/", "/a/b"),
        ("http://[::1]:9090//a", "/a"),
        ("http://proxy.example/cloud%20sql", "/cloud sql"),
        ("/a/b/", "/a/b"),
    ],
)
def test_the_prefix_is_the_path_of_the_external_url(external_url: str, prefix: str) -> None:
    assert path_prefix(external_url) == prefix


@pytest.mark.parametrize(
    "external_url",
    [
        "proxy.example",
        "//proxy.example/a",
        "ftp://proxy.example/",
        "http://",
        "http://proxy.example:x/",
        "http://user:secret@proxy.example/",
        "http://proxy.example/?a",
        "http://proxy.example/#a",
        "http://proxy.example/a\nb",
    ],
)
def test_an_invalid_external_url_is_rejected_with_the_expected_format(external_url: str) -> None:
    with pytest.raises(ValueError, match="is not a valid external URL; write http"):
        path_prefix(external_url)


@pytest.mark.parametrize("path", ["{a}", "a//b", "%0d%0aa", "a%5cb"])
def test_a_path_that_cannot_be_served_is_rejected(path: str) -> None:
    with pytest.raises(ValueError, match="the path contains characters that cannot be served"):
        path_prefix(f"http://proxy.example/{path}")


def test_the_health_address_serves_the_probes_alone(simulator: Simulator) -> None:
    exporter = Exporter(lambda: config(simulator.url), simulator.world.clock, process_metrics=False)
    with serving_app(health_application(exporter)) as server:
        url = server.urls[0]
        assert (fetch(f"{url}-/healthy").text, fetch(f"{url}-/ready").status) == ("healthy\n", 503)
        exporter.poll_once(lambda _done, _total: None)
        assert fetch(f"{url}-/ready").text == "ready\n"
        assert fetch(f"{url}-/ready", "HEAD").status == 200
        assert [fetch(url + path).status for path in ("", "metrics", "-/reload", "-/healthy/")] == [404] * 4
        assert [fetch(f"{url}-/healthy", method).status for method in ("POST", "PUT", "DELETE")] == [405] * 3


def test_reload_returns_404_unless_lifecycle_is_enabled(url: str) -> None:
    assert fetch(f"{url}-/reload", "POST").status == 404


def test_status_page_lists_verdicts_with_reasons_worst_first(url: str) -> None:
    page = fetch(url).text
    rows = re.findall(r'<tr>\n<td><span class="badge (\w+)">', page)
    order = ("unprotected", "at_risk", "protected", "exempt")
    assert rows == sorted(rows, key=order.index)
    assert set(rows) == set(order)
    assert "there is no backup to restore" in page
    assert "the last automated run failed: DISK_SNAPSHOT_FAILED" in page
    assert "a read replica: its primary is backed up" in page


def test_status_json_lists_verdicts_totals_and_projects(url: str) -> None:
    status = json.loads(fetch(f"{url}api/v1/status").text)
    by_name = {(instance["project"], instance["instance_id"]): instance for instance in status["instances"]}
    failing = by_name["museum", "failing"]
    assert (failing["state"], failing["findings"]) == ("unprotected", ["stale_critical", "stale", "last_run_failed"])
    assert failing["last_runs"] == {"automated": "failed"}
    assert by_name["museum", "stopped"]["exempt"] == "stopped"
    assert sum(status["totals"].values()) == len(by_name) == len(SCENARIOS) + 9  # museum and shop-prod
    assert {project["project"]: project["result"] for project in status["projects"]} == {
        "museum": "success",
        "shop-prod": "success",
    }


def test_status_page_escapes_text_from_the_api() -> None:
    museum = world({"museum": Project({"<script>alert(1)</script>": SCENARIOS["healthy"]})})
    with Simulator(museum) as simulator, serving(simulator, config(simulator.url, ("museum",))) as served:
        assert eventually(served.exporter.ready)
        page = fetch(served.url).text
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


def test_status_page_shows_read_errors_first(simulator: Simulator) -> None:
    simulator.faults.add(Fault("unreachable-region", project="shop-prod"))
    with serving(simulator, config(simulator.url, ("sealed", "shop-prod"))) as served:
        assert eventually(served.exporter.ready)
        page = fetch(served.url).text
    assert page.index("grant cloudsql.instances.list") < page.index("<table")
    assert page.index("the API cannot reach europe-west4") < page.index("<table")


def test_not_ready_until_a_project_was_read_while_pages_are_served(simulator: Simulator) -> None:
    with serving(simulator, config(simulator.url, ("sealed",))) as served:
        assert eventually(lambda: bool(served.exporter.evaluate().projects))
        metrics = fetch(f"{served.url}metrics").text
        statuses = {path: fetch(served.url + path).status for path in ("", "-/ready", "-/healthy")}
    assert statuses == {"": 200, "-/ready": 503, "-/healthy": 200}
    assert 'cloudsql_backup_exporter_project_up{project="sealed"} 0.0' in metrics
    assert 'polls_total{project="sealed",result="forbidden"} 1.0' in metrics
    assert "cloudsql_backup_protection" not in metrics


def test_scrape_does_not_wait_for_a_poll(simulator: Simulator) -> None:
    simulator.faults.add(Fault("slow", project="warehouse-prod", seconds=20))
    with serving(simulator, config(simulator.url, ("warehouse-prod",))) as served:
        response = fetch(f"{served.url}metrics")  # times out after 20 seconds
    assert response.status == 200
    assert "cloudsql_backup_exporter_build_info" in response.text


def test_reload_applies_a_valid_configuration_and_rejects_an_invalid_one(simulator: Simulator) -> None:
    configuration: Config | ConfigError = config(simulator.url, PROJECTS)

    def load() -> Config:
        if isinstance(configuration, ConfigError):
            raise configuration
        return configuration

    with serving(simulator, load, lifecycle=True) as served:
        assert eventually(served.exporter.ready)
        configuration = ConfigError([Problem("c.yaml", 3, "poll.interval", "must be longer than 0s")])
        rejected = fetch(f"{served.url}-/reload", "POST")
        after_rejection = fetch(f"{served.url}metrics").text
        configuration = config(simulator.url, ("museum",))
        accepted = fetch(f"{served.url}-/reload", "PUT")
        removed = eventually(lambda: 'project="shop-prod"' not in fetch(f"{served.url}metrics").text)
        after_reload = fetch(f"{served.url}metrics").text

    assert (rejected.status, rejected.text) == (400, "c.yaml:3: poll.interval: must be longer than 0s\n")
    assert "cloudsql_backup_exporter_config_last_reload_successful 0.0" in after_rejection
    assert 'project_up{project="shop-prod"} 1.0' in after_rejection
    assert (accepted.status, removed) == (200, True)
    assert "cloudsql_backup_exporter_config_last_reload_successful 1.0" in after_reload
    assert 'project_up{project="museum"} 1.0' in after_reload


@pytest.mark.parametrize("address", ["10853", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:70000"])
def test_invalid_address_is_rejected_with_the_expected_format(address: str) -> None:
    with pytest.raises(ValueError, match="write HOST:PORT"):
        split_address(address)


def test_every_listen_address_serves_the_endpoints(simulator: Simulator) -> None:
    exporter = Exporter(lambda: config(simulator.url), simulator.world.clock)
    server = WebServer(Service(application(exporter), [listen("127.0.0.1:0"), listen("127.0.0.1:0")]))
    server.start()
    responses = [fetch(f"{url}-/healthy").text for url in server.urls]
    server.stop()
    assert responses == ["healthy\n", "healthy\n"]
