"""The page of the exporter itself."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from exporter.config import Config
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan
from exporter.facts.snapshot import DiscoveryMethod, ProjectStatus, SearchStatus, Snapshot
from exporter.runtime import ApiUsage, Exporter
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.web import application
from exporter.web.pages.exporter import MAX_PROJECTS, ExporterPage, exporter_page
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, MINUTE, NOW, config, world
from tests.support.hostile import HOSTILE_NAMES
from tests.support.processes import fetch
from tests.support.web import serving

USAGE = ApiUsage(300, 300.0, [], {})


def status(project: str, result: PollResult | None, message: str = "", **changes: Any) -> ProjectStatus:
    """A project that was last read ten minutes ago."""
    scan = ProjectScan(NOW - 10 * MINUTE, NOW - HOUR, listed=1)
    polls = dict.fromkeys(PollResult, 0) | ({result: 3} if result else {})
    return replace(ProjectStatus(project, result, message, scan=scan, polls=polls), **changes)


def page(
    *statuses: ProjectStatus,
    searches: Mapping[str, SearchStatus] | None = None,
    settings: Config | None = None,
    **info: Any,
) -> ExporterPage:
    """The page by these polls."""
    snapshot = Snapshot({known.project: known for known in statuses}, searches or {})
    evaluation: Evaluation = evaluate(snapshot, settings or config(), replace(EXPORTER_INFO, **info), NOW)
    return exporter_page(evaluation, USAGE)


def test_projects_that_need_attention_come_first() -> None:
    partial = ProjectScan(NOW, NOW, unreachable_regions=("europe-west4",))
    shown = page(
        status("a-good", PollResult.SUCCESS),
        status("b-pending", None, scan=None),
        status("c-partial", PollResult.SUCCESS, scan=partial),
        status("d-outdated", PollResult.SUCCESS, scan=ProjectScan(NOW - 2 * HOUR, NOW - DAY)),
        status("e-failed", PollResult.FORBIDDEN, "grant cloudsql.instances.list"),
    )
    assert [(row.status.project, row.badge.word) for row in shown.projects] == [
        ("e-failed", "forbidden"),
        ("d-outdated", "outdated"),
        ("c-partial", "partial"),
        ("b-pending", "pending"),
        ("a-good", "success"),
    ]
    assert (shown.total, shown.current) == (5, 1)
    assert shown.projects[0].text == "grant cloudsql.instances.list"
    assert "europe-west4" in shown.projects[2].text


def test_projects_without_instances_or_api_need_no_attention() -> None:
    empty = ProjectScan(NOW - 70 * MINUTE, NOW - DAY, listed=0)
    shown = page(
        status("a-disabled", PollResult.API_DISABLED, "403; enable it", scan=None, found=True),
        status("b-empty", PollResult.SUCCESS, scan=empty, found=True),
        status("c-named", PollResult.SUCCESS, scan=replace(empty, read_at=NOW)),
        status("d-failing", PollResult.API_DISABLED, "403; enable it", scan=None),
    )
    assert [(row.status.project, row.badge.word, row.text) for row in shown.projects] == [
        ("d-failing", "api disabled", "403; enable it"),
        ("a-disabled", "not enabled", "found by a search; the Cloud SQL Admin API is not enabled; polled every 1h"),
        ("b-empty", "empty", "no instance; polled every 1h"),
        ("c-named", "empty", "no instance"),
    ]
    assert [row.unknown_at for row in shown.projects] == [None] * 4
    assert shown.states == {"read": 0, "empty": 2, "api_disabled": 1, "failing": 1}


def test_folders_and_organizations_tell_how_their_projects_are_found() -> None:
    targets = [
        {"folder": "12", "impersonate": "reader@x"},
        {"organization": "1"},
        {"organization": "2", "instances": {"include": ["a"]}},
    ]
    shown = page(
        searches={
            "folders/12": SearchStatus(True, True, ("a", "b"), method=DiscoveryMethod.INVENTORY),
            "organizations/1": SearchStatus(True, True, method=DiscoveryMethod.WALK),
            "organizations/2": SearchStatus(
                up=False, message="403", missing_permission="cloudasset.assets.searchAllResources", account="other@x"
            ),
        },
        settings=config(targets=targets),
    )
    assert [(row.kind, row.name, row.instances, row.badge.word, row.text, row.projects) for row in shown.targets] == [
        ("folder", "12", "all, read as reader@x", "success", "found in Cloud Asset Inventory", 2),
        ("organization", "1", "all", "success", "found folder by folder; no project found", 0),
        ("organization", "2", "a", "failed", "403", 0),
    ]
    assert shown.targets[2].command == (
        "gcloud organizations add-iam-policy-binding 2 --member=serviceAccount:other@x --role=roles/cloudasset.viewer "
        "--condition=None"
    )


def test_a_failing_project_tells_when_its_verdicts_become_unknown() -> None:
    failing, good = page(status("a", PollResult.TIMEOUT), status("b", PollResult.SUCCESS)).projects
    assert (failing.unknown_at, good.unknown_at) == (NOW + 50 * MINUTE, None)
    (never_read,) = page(status("c", PollResult.TIMEOUT, scan=None)).projects
    assert (never_read.unknown_at, never_read.instances) == (None, None)


@pytest.mark.parametrize(
    ("credentials", "member"),
    [
        ("adc", "MEMBER"),
        ({"impersonate": "sa@p.iam.gserviceaccount.com"}, "serviceAccount:sa@p.iam.gserviceaccount.com"),
        ({"file": "KEY"}, "MEMBER"),
    ],
)
def test_a_missing_permission_comes_with_the_command_that_grants_it(
    tmp_path: Path, credentials: object, member: str
) -> None:
    key = tmp_path / "key.json"
    key.write_text('{"client_email": "secret@p.iam.gserviceaccount.com"}')
    credentials = {"file": str(key)} if credentials == {"file": "KEY"} else credentials
    settings = config(cloudsql={"credentials": credentials}, targets=[{"search": "labels.env=prod"}])
    search = SearchStatus(up=False, message="403", missing_permission="resourcemanager.projects.get")
    failing = status("x$y", PollResult.FORBIDDEN, "403", missing_permission="cloudsql.instances.list")
    shown = page(failing, searches={"labels.env=prod": search}, settings=settings)
    assert shown.projects[0].command == (
        f"gcloud projects add-iam-policy-binding 'x$y' --member={member} --role=roles/cloudsql.viewer --condition=None"
    )
    assert shown.targets[0].command.endswith(f"--member={member} --role=roles/browser --condition=None")
    assert shown.member_advice.startswith("MEMBER is the account" if member == "MEMBER" else "")
    assert bool(shown.member_advice) is (member == "MEMBER")


def test_of_very_many_projects_the_first_are_shown_and_all_are_counted() -> None:
    statuses = [status(f"p{number:04}", PollResult.SUCCESS) for number in range(MAX_PROJECTS + 1)]
    shown = page(*statuses, status("z", PollResult.QUOTA))
    assert (len(shown.projects), shown.total, shown.current) == (MAX_PROJECTS, MAX_PROJECTS + 2, MAX_PROJECTS + 1)
    assert shown.projects[0].status.project == "z"


def test_targets_show_their_selection_and_the_result_of_searches() -> None:
    targets = [
        {"project": "a"},
        {"project": "b", "instances": {"include": ["x", "y.*"], "exclude": ["z"], "labels": {"env": "prod"}}},
        {"search": "labels.env=prod", "refresh": "2h"},
        {"search": "labels.env=test"},
        {"search": "labels.env=new"},
    ]
    shown = page(
        status("a", PollResult.SUCCESS),
        searches={
            "labels.env=prod": SearchStatus(up=True, answered=True, projects=("a", "c")),
            "labels.env=test": SearchStatus(up=False, message="projects.search: 403; grant it"),
        },
        settings=config(targets=targets),
    )
    assert [(row.kind, row.name, row.instances, row.badge.word, row.text, row.projects) for row in shown.targets] == [
        ("project", "a", "all", "success", "", 1),
        ("project", "b", "x or y.*, except z, env=prod", "pending", "not polled yet", 1),
        ("search", "labels.env=prod", "all", "success", "", 2),
        ("search", "labels.env=test", "all", "failed", "projects.search: 403; grant it", 0),
        ("search", "labels.env=new", "all", "pending", "", 0),
    ]
    assert shown.targets[2].refresh == 2 * HOUR


@pytest.mark.parametrize(
    ("path", "persistent", "text"),
    [
        ("data", True, "saved in data"),
        ("data", False, "cannot be saved in data: counters and days are lost at a restart; see the log"),
        (None, False, "in memory only: counters and days are lost at a restart"),
    ],
)
def test_state_tells_whether_it_survives_a_restart(path: str | None, persistent: bool, text: str) -> None:
    assert page(settings=config(state={"path": path}), state_persistent=persistent).state == text


@contextmanager
def served(simulator: Simulator, settings: Config) -> Iterator[str]:
    """The URL of the page of an exporter that has polled."""
    exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
    exporter.poll_once(lambda _done, _total: None)
    with serving(application(exporter)) as server:
        yield f"{server.urls[0]}exporter"


def text_of(html: str) -> str:
    """The text of a page without markup, in one line."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", html)).split())


def test_the_page_shows_what_was_read_and_requested(simulator: Simulator) -> None:
    simulator.faults.add(Fault("unreachable-region", project="shop-prod"))
    with served(simulator, config(simulator.url, ("sealed", "museum", "shop-prod"))) as url:
        response = fetch(url)
    text = text_of(response.text)
    assert response.status == 200
    assert "1 of 3 projects read completely by the last poll" in text
    assert text.index("✖ forbidden") < text.index("▲ partial") < text.index("✔ success")
    assert "grant cloudsql.instances.list" in text
    assert "gcloud projects add-iam-policy-binding sealed --member=MEMBER --role=roles/cloudsql.viewer" in text
    assert re.search(r"instances\.list \d+ .*1 × 403", text)
    assert "Rate limit 60000 requests per minute Unreadable items" in text
    assert "Version 0.1.0" in text
    assert "requests_per_minute: 60000" in text
    assert "in memory only" in text


def test_the_page_is_served_before_anything_was_read() -> None:
    exporter = Exporter(config, lambda: NOW, process_metrics=False)
    with serving(application(exporter)) as server:
        text = text_of(fetch(f"{server.urls[0]}exporter").text)
    assert "No project yet" in text
    assert "No request has ended yet." in text


def test_the_page_contains_no_inline_style_or_script_and_has_the_headers_of_a_page(simulator: Simulator) -> None:
    with served(simulator, config(simulator.url)) as url:
        response = fetch(url)
    assert "unsafe-inline" not in response.headers["content-security-policy"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! src=)", response.text)


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_text_from_outside_is_escaped_and_isolated(name: str) -> None:
    with Simulator(world(WORLDS["demo"]())) as simulator:
        targets = [{"project": "museum", "instances": {"labels": {"env": name}, "include": [re.escape(name)]}}]
        with served(simulator, config(simulator.url, targets=targets)) as url:
            html = fetch(url).text
    assert "<script>alert" not in html
    shown = [unescape(part) for part in re.findall(r"<bdi>(.*?)</bdi>", html)]
    assert f"{re.escape(name)}, env={name}" in shown


def test_no_secret_of_a_key_file_is_shown(tmp_path: Path) -> None:
    """The exporter is not started with it: credentials are read at the start."""
    key = tmp_path / "key.json"
    key.write_text('{"private_key_id": "abc123"}')
    settings = config(cloudsql={"credentials": {"file": str(key)}, "endpoint": "https://user:hunter2@proxy.example/"})
    shown = page(settings=settings).configuration
    assert str(key) in shown
    assert "abc123" not in shown
    assert "hunter2" not in shown


def test_a_lower_rate_after_quota_errors_is_shown_beside_the_configured_one(simulator: Simulator) -> None:
    settings = config(simulator.url, ("shop-prod",))
    exporter = Exporter(lambda: settings, simulator.world.clock, process_metrics=False)
    simulator.faults.add(Fault("quota", project="shop-prod", times=1))
    exporter.poll_once(lambda _done, _total: None)
    with serving(application(exporter)) as server:
        text = text_of(fetch(f"{server.urls[0]}exporter").text)
    assert re.search(
        r"60000 requests per minute; at present \d+, since the API answered that its quota is exceeded", text
    )
