"""Full scan of a project: broken items, repeated items, items of unselected instances."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import BackupRun, Instance, RunStatus
from exporter.facts.record import ProjectScan
from exporter.metrics.code_labels import CodeLabels
from exporter.scan.incremental import scan
from exporter.scan.source import Page
from tests.support.builders import NOW, encoded, scan_options
from tests.support.strategies import RUN_ITEM, json_values, plausible

INSTANCE: dict[str, Any] = {"name": "pg-1", "state": "RUNNABLE"}
GOOD = RUN_ITEM | {"id": "1795402800000", "status": "SUCCESSFUL", "windowStartTime": "2026-11-23T03:00:00Z"}


class FixedSource:
    """A Source with fixed pages."""

    def __init__(self, instances: list[object], *run_pages: list[object]) -> None:
        self._instances, self._run_pages = instances, run_pages

    def instances(self, project: str) -> Iterator[Page]:
        assert project
        yield Page([encoded(item) for item in self._instances])

    def backup_runs(self, project: str, instance: str, *, newest: bool = False) -> Iterator[Page]:
        assert (project, instance, newest) == ("p", "-", False)
        yield from (Page([encoded(item) for item in items]) for items in self._run_pages)

    def backup_run(self, project: str, instance: str, run_id: str) -> bytes | None:
        raise AssertionError((project, instance, run_id))

    def backups(self, project: str) -> Iterator[Page]:
        raise AssertionError(project)

    def backup_plan_associations(self, project: str) -> Iterator[Page]:
        raise AssertionError(project)

    def backup_plans(self, project: str) -> Iterator[Page]:
        raise AssertionError(project)

    def projects(self, query: str) -> Iterator[str]:
        yield query


def scan_pages(source: FixedSource, reports: list[tuple[str, str]] | None = None) -> ProjectScan:
    reported = [] if reports is None else reports
    return scan(source, "p", NOW, scan_options(lambda kind, field: reported.append((kind, field)), selects), None)


def selects(instance: Instance) -> bool:
    return instance.id.name != "unwanted"


def runs(result: ProjectScan) -> list[BackupRun]:
    return [*result.records["pg-1"].history.runs]


def test_broken_item_is_reported_once_and_others_are_read() -> None:
    reports: list[tuple[str, str]] = []
    unreadable: list[object] = [None, "text", {}, {"instance": "pg-1"}]
    result = scan_pages(
        FixedSource(
            [3, INSTANCE, {"region": "x"}], [*unreadable, RUN_ITEM, RUN_ITEM | {"id": "x", "location": 7}, GOOD]
        ),
        reports,
    )
    assert [kind for kind, _field in reports] == ["instance", "instance", *["backup_run"] * 5]
    assert reports[-1] == ("backup_run", "id, location")
    assert [run.status for run in runs(result)] == [RunStatus.SUCCESSFUL, RunStatus.FAILED]


def test_runs_of_unlisted_or_unselected_instances_are_ignored() -> None:
    others: list[object] = [RUN_ITEM | {"instance": "gone"}, RUN_ITEM | {"instance": "unwanted"}, GOOD]
    result = scan_pages(FixedSource([INSTANCE, {"name": "unwanted"}], others))
    assert list(result.records) == ["pg-1"]
    assert [run.id for run in runs(result)] == [GOOD["id"]]


def test_runs_are_not_listed_if_no_instance_is_selected() -> None:
    assert scan_pages(FixedSource([{"name": "unwanted"}], ["never listed"])).records == {}


def test_run_listed_on_two_pages_takes_its_later_version() -> None:
    running = GOOD | {"status": "RUNNING", "endTime": None}
    assert [run.status for run in runs(scan_pages(FixedSource([INSTANCE], [running], [GOOD])))] == [
        RunStatus.SUCCESSFUL
    ]


def test_later_attempt_at_a_window_replaces_earlier_one() -> None:
    retry = RUN_ITEM | {"status": "SUCCESSFUL", "startTime": "2026-11-22T04:30:00Z"}
    assert [run.status for run in runs(scan_pages(FixedSource([INSTANCE], [retry, RUN_ITEM])))] == [
        RunStatus.SUCCESSFUL
    ]


def test_at_most_fifty_error_codes_have_their_own_label() -> None:
    codes = CodeLabels()
    labels = [codes.label(f"CODE_{number}") for number in range(60)]
    assert labels == [f"CODE_{number}" for number in range(50)] + ["other"] * 10
    assert codes.label("CODE_7") == "CODE_7"
    assert codes.label("NEW") == "other"
    assert CodeLabels().label("") == "unspecified"


def test_error_codes_become_labels_of_runs() -> None:
    failed = runs(scan_pages(FixedSource([INSTANCE], [RUN_ITEM, GOOD | {"status": "FAILED", "error": {}}])))
    assert [run.error.label for run in failed if run.error] == ["unspecified", "INTERNAL_ERROR"]


broken_item = st.dictionaries(st.sampled_from([*RUN_ITEM, "dueTime"]), plausible) | json_values


@given(st.lists(broken_item, max_size=6), st.lists(broken_item, max_size=6), st.randoms())
def test_broken_items_never_stop_a_scan_or_hide_other_items(
    broken_instances: list[Any], broken_runs: list[Any], random: Any
) -> None:
    broken_runs = [item for item in broken_runs if not (isinstance(item, dict) and item.get("id") in (GOOD["id"], 17))]
    instances = [*broken_instances, INSTANCE]
    items = [*broken_runs, GOOD]
    random.shuffle(items)
    reports: list[tuple[str, str]] = []
    result = scan_pages(FixedSource(instances, items), reports)
    assert GOOD["id"] in [run.id for run in runs(result)]
    non_objects = [item for item in broken_runs if not isinstance(item, dict)]
    assert sum(kind == "backup_run" for kind, _field in reports) >= len(non_objects)
