"""The pages for people, over real sockets: technique, headers, links and hostile names."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote, urldefrag, urljoin, urlsplit

import pytest

from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.simulator.backups import DeletedInstance
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.web import Sites, application
from exporter.web.static_files import FILES
from tests.support.builders import DAY, MINUTE, NOW, config, world
from tests.support.hostile import HOSTILE_NAMES
from tests.support.html import html_problems
from tests.support.processes import fetch
from tests.support.web import serving

PREFIX = "/back up/sql"
SITES = Sites("https://grafana.example", "https://am.example")
PAGES = (
    "",
    "?state=at_risk&state=unprotected&q=disk&sort=-last_success&limit=2",
    "?offset=1000",
    "?q=no-such-instance",
    "?state=wrong",
    "instances/museum/failing",
    "instances/museum/replica",
    "instances/museum/pitr-lagging",
    "instances/museum/pitr-without-earliest",
    "instances/museum/never",
    "instances/museum/enhanced-failing",
    "instances/museum/enhanced-unplanned",
    "instances/museum/failin",
    "instances/nowhere/a/b",
    "windows",
    "windows?project=museum",
    "deleted",
    "deleted?project=museu",
    "exporter",
)
VOID = {"meta", "link", "input", "option", "line", "circle", "rect", "path", "br"}


class Page(HTMLParser):
    """The elements of a page: tags with their attributes, and pieces of text with the tags around them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, list[str]]] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []  # every element is closed

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((data, [*self._open]))

    def values(self, *names: str) -> list[str]:
        """The values of attributes."""
        return [value or "" for _, attributes in self.elements for name, value in attributes.items() if name in names]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL, with a path, of an exporter that has polled the demo world."""
    with Simulator(world(WORLDS["demo"]())) as simulator:
        collect = {"recovery_times": True, "deleted_instances": True, "backup_dr": True}
        settings = config(simulator.url, ("museum", "shop-prod", "sealed"), collect=collect)
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter, prefix=PREFIX, sites=SITES)) as server:
            yield f"{server.urls[0]}{quote(PREFIX[1:])}/"


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    """The URL of an exporter that has polled a project with hostile names."""
    instances = dict.fromkeys(HOSTILE_NAMES, SCENARIOS["failing"])
    deleted = tuple(DeletedInstance(name, DAY) for name in HOSTILE_NAMES)
    with Simulator(world({"museum": Project(instances, deleted=deleted)})) as simulator:
        settings = config(simulator.url, collect={"deleted_instances": True})
        exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter, sites=SITES)) as server:
            yield server.urls[0]


@pytest.mark.parametrize("path", PAGES)
def test_pages_forbid_everything_that_they_do_not_need(url: str, path: str) -> None:
    headers = fetch(url + path).headers
    policy = dict(directive.split(" ", 1) for directive in headers["content-security-policy"].split("; "))
    assert policy == {
        "default-src": "'none'",
        "style-src": "'self'",
        "script-src": "'self'",
        "img-src": "'self'",
        "connect-src": "'self'",
        "form-action": "'self'",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
    }
    assert (headers["referrer-policy"], headers["x-content-type-options"]) == ("same-origin", "nosniff")
    assert headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", PAGES)
def test_pages_have_no_inline_style_or_script_and_do_not_reload_themselves(url: str, path: str) -> None:
    page = Page(fetch(url + path).text)
    assert page.values("style", "http-equiv") == []
    assert [attributes for tag, attributes in page.elements if tag == "script" and not attributes.get("src")] == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
    assert "style" not in {tag for tag, _ in page.elements}
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))


@pytest.mark.parametrize("path", PAGES)
def test_links_of_pages_lead_somewhere_below_the_path_of_the_external_url(url: str, path: str) -> None:
    page = Page(fetch(url + path).text)
    targets = {urldefrag(urljoin(url + path, link)).url for link in page.values("href", "src", "action")}
    own = {target for target in targets if urlsplit(target).netloc == urlsplit(url).netloc}
    assert {target for target in own if not target.startswith(url)} == set()
    assert {target for target in own if fetch(target).status != 200} - {url + path} == set()
    allowed = ("https://github.com/", "https://grafana.example/", "https://am.example/")
    assert [target for target in targets - own if not target.startswith(allowed)] == []


def test_pages_are_valid_html(url: str, hostile: str, tmp_path: Path) -> None:
    hostile_pages = ("", "windows?project=museum", "deleted", f"instances/museum/{quote(HOSTILE_NAMES[0], safe='')}")
    addresses = [*(url + path for path in PAGES), *(hostile + path for path in hostile_pages)]
    for number, address in enumerate(addresses):
        (tmp_path / f"{number}.html").write_text(fetch(address).text, encoding="utf-8")
    assert html_problems(tmp_path) == []


def test_invalid_html_is_found(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<!DOCTYPE html>\n<p><ul></ul></p>\n", encoding="utf-8")
    assert len(html_problems(tmp_path)) > 0


def test_references_within_a_page_exist(url: str) -> None:
    page = Page(fetch(f"{url}instances/museum/failing").text)
    names = [name for value in page.values("aria-labelledby") for name in value.split()]
    names += [link[1:] for link in page.values("href") if link.startswith("#")]
    assert len(names) > 8
    assert set(names) <= set(page.values("id"))


@pytest.mark.parametrize(
    ("path", "icon"),
    [
        ("", "unprotected"),
        ("instances/museum/healthy", "protected"),
        ("instances/museum/replica", "exempt"),
        ("instances/museum/missed", "at_risk"),
        ("instances/museum/x", "none"),
    ],
)
def test_the_icon_shows_the_state(url: str, path: str, icon: str) -> None:
    assert f"static/icon-{icon}.svg?v=" in fetch(url + path).text


@pytest.mark.parametrize("name", sorted(FILES))
def test_static_files_may_be_kept_if_their_url_contains_their_digest(url: str, name: str) -> None:
    current = fetch(f"{url}static/{name}?v={FILES[name].digest}")
    assert (current.status, current.headers["cache-control"]) == (200, "public, max-age=31536000, immutable")
    assert current.headers["content-type"] == FILES[name].media_type
    assert current.headers["x-content-type-options"] == "nosniff"
    other = fetch(f"{url}static/{name}?v=old")
    assert (other.text, other.headers["cache-control"]) == (current.text, "no-cache")
    assert fetch(f"{url}static/{name}", If_None_Match=other.headers["etag"]).status == 304


@pytest.mark.parametrize("name", ["", "x.css", "..%2fapp.py", "%2e%2e/app.py", "style.css/"])
def test_other_static_files_are_not_found(url: str, name: str) -> None:
    response = fetch(f"{url}static/{name}")
    assert (response.status, response.text) == (404, "Not Found")


def test_an_invalid_view_is_rejected_with_the_valid_values(url: str) -> None:
    response = fetch(f"{url}?state=wrong")
    assert response.status == 400
    assert "unknown state &#39;wrong&#39;; the states are unprotected" in response.text


def test_an_unknown_instance_is_not_found_and_similar_ones_are_suggested(url: str) -> None:
    response = fetch(f"{url}instances/museum/failin")
    assert response.status == 404
    assert 'href="../../instances/museum/failing"' in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_pages_allow_get_and_head_only(url: str, method: str) -> None:
    for path in ("", "instances/museum/failing", "static/style.css"):
        assert fetch(url + path, method).status == 405
        assert fetch(url + path, "HEAD").text == ""


def test_the_page_of_an_instance_shows_everything_about_it(url: str) -> None:
    text = fetch(f"{url}instances/museum/failing").text
    headings = re.findall(r"<h[23][^>]*>([^<]+)", text)
    assert [heading for heading in headings if heading in EXPECTED_HEADINGS] == EXPECTED_HEADINGS
    for content in ("stale_critical", "DISK_SNAPSHOT_FAILED", "gcloud sql backups create --instance=failing"):
        assert content in text
    assert "https://grafana.example/d/cloudsql-backup-instance?var-project=museum&amp;var-instance=failing" in text
    assert "https://am.example/#/silences/new?filter=" in text
    assert text.count('<svg class="chart') == 4


EXPECTED_HEADINGS = [
    "Verdict",
    "Commands",
    "Days",
    "Backup runs",
    "Duration",
    "Size",
    "Start time",
    "All runs",
    "Policy",
    "Configuration",
    "Counters",
]


def test_the_page_of_an_instance_shows_its_recovery_window(url: str) -> None:
    text = " ".join(re.sub(r"<[^>]+>", "", fetch(f"{url}instances/museum/pitr-lagging").text).split())
    assert "Recovery point2026-11-23 09:00:00 UTC, by the transaction logs since a backup" in text
    window = "from 2026-11-17 04:19:04 UTC to 2026-11-23 09:00:00 UTC, 6d 4h"
    assert re.search(rf"Point-in-time recovery{window}; read \S+( ago)?, when it was 3h behind", text)
    assert "pitr_lagging" in text
    text = fetch(f"{url}instances/museum/pitr-without-earliest").text
    assert "from an unknown time to 2026-11-23 11:57:00 UTC; read" in text
    assert "<dt>Point-in-time recovery</dt><dd>from" not in fetch(f"{url}instances/museum/pitr-logs-on-disk").text


def test_instances_with_hostile_names_are_linked_and_shown(hostile: str) -> None:
    page = Page(fetch(hostile).text)
    links = {link for link in page.values("href") if link.startswith("instances/")}
    assert links == {f"instances/museum/{quote(name, safe='')}" for name in HOSTILE_NAMES}
    for name in HOSTILE_NAMES:
        response = fetch(f"{hostile}instances/museum/{quote(name, safe='')}")
        assert response.status == 200
        heading = [text for text, tags in Page(response.text).texts if tags[-2:] == ["h1", "bdi"]]
        assert heading == [name]


@pytest.mark.parametrize(
    "path", ["", "?q=%3Cscript%3E", "deleted", *(f"instances/museum/{quote(n, safe='')}" for n in HOSTILE_NAMES)]
)
def test_text_from_outside_is_isolated_and_creates_no_elements(hostile: str, path: str) -> None:
    page = Page(fetch(hostile + path).text)
    assert [attributes for tag, attributes in page.elements if tag == "script" and not attributes.get("src")] == []
    bare = [text for text, tags in page.texts if "museum" in text or any(name in text for name in HOSTILE_NAMES[:4])]
    outside = [text for text, tags in page.texts if text in bare and not {"bdi", "title", "option"} & set(tags)]
    assert outside == []


def test_today_begins_at_midnight_utc_also_without_a_poll(simulator: Simulator) -> None:
    now = [NOW.replace(hour=23, minute=59)]
    exporter = Exporter(lambda: config(simulator.url), lambda: now[0], process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    days = []
    with serving(application(exporter)) as server:
        for minutes in (0, 2):
            now[0] += minutes * MINUTE
            text = fetch(f"{server.urls[0]}?q=healthy&limit=1").text
            days.append([title[:6] for title in re.findall(r'class="day [a-z_]+" title="([^"]+)"', text)])
    assert [(found[0], found[-1], len(found)) for found in days] == [("Nov 10", "Nov 23", 14), ("Nov 11", "Nov 24", 14)]


def test_a_page_says_that_polls_are_late(simulator: Simulator) -> None:
    now = [NOW]
    exporter = Exporter(lambda: config(simulator.url), lambda: now[0], process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    with serving(application(exporter)) as server:
        for minutes, late in ((30, False), (1, True)):
            now[0] += minutes * MINUTE
            assert ("a project was last read 31m ago: polls are late" in fetch(server.urls[0]).text) is late


def test_a_project_that_cannot_be_read_is_named_before_the_instances(url: str) -> None:
    text = fetch(url).text
    assert text.index("Most urgent") < text.index("What the exporter knows is incomplete") < text.index("<table")
    assert "instances.list of project &#39;sealed&#39;: 403" in text[: text.index("<table")]
    assert re.search(r"<caption>1 to (\d+) of \1 instances of the projects that could be read</caption>", text)
    assert '1</b> <span class="word unknown"><span aria-hidden="true">?</span> project not read<' in text
