"""One project's scan: broken items, repeated items, items that nobody asked for."""

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


class Fixed:
    """A Source with these pages."""

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

    def projects(self, query: str) -> Iterator[str]:
        yield query


def read(source: Fixed, notes: list[tuple[str, str]] | None = None) -> ProjectScan:
    taken = [] if notes is None else notes
    return scan(source, "p", NOW, scan_options(lambda kind, field: taken.append((kind, field)), chosen), None)


def chosen(instance: Instance) -> bool:
    return instance.id.name != "unwanted"


def runs(told: ProjectScan) -> list[BackupRun]:
    return [*told.records["pg-1"].history.runs]


def test_each_broken_item_is_noted_once_and_loses_no_other() -> None:
    notes: list[tuple[str, str]] = []
    bad: list[object] = [None, "text", {}, {"instance": "pg-1"}]
    told = read(
        Fixed([3, INSTANCE, {"region": "x"}], [*bad, RUN_ITEM, RUN_ITEM | {"id": "x", "location": 7}, GOOD]), notes
    )
    assert [kind for kind, _field in notes] == ["instance", "instance", *["backup_run"] * 5]
    assert notes[-1] == ("backup_run", "id, location")
    assert [run.status for run in runs(told)] == [RunStatus.SUCCESSFUL, RunStatus.FAILED]


def test_runs_of_instances_that_were_not_listed_or_chosen_are_left_out() -> None:
    others: list[object] = [RUN_ITEM | {"instance": "gone"}, RUN_ITEM | {"instance": "unwanted"}, GOOD]
    told = read(Fixed([INSTANCE, {"name": "unwanted"}], others))
    assert list(told.records) == ["pg-1"]
    assert [run.id for run in runs(told)] == [GOOD["id"]]


def test_no_runs_are_asked_for_where_no_instance_is_chosen() -> None:
    assert read(Fixed([{"name": "unwanted"}], ["never looked at"])).records == {}


def test_a_run_met_twice_between_pages_counts_once_and_the_later_word_holds() -> None:
    running = GOOD | {"status": "RUNNING", "endTime": None}
    assert [run.status for run in runs(read(Fixed([INSTANCE], [running], [GOOD])))] == [RunStatus.SUCCESSFUL]


def test_of_two_attempts_at_one_window_the_one_that_began_later_holds() -> None:
    again = RUN_ITEM | {"status": "SUCCESSFUL", "startTime": "2026-11-22T04:30:00Z"}
    assert [run.status for run in runs(read(Fixed([INSTANCE], [again, RUN_ITEM])))] == [RunStatus.SUCCESSFUL]


def test_at_most_fifty_error_codes_are_told_apart() -> None:
    codes = CodeLabels()
    labels = [codes.label(f"CODE_{number}") for number in range(60)]
    assert labels == [f"CODE_{number}" for number in range(50)] + ["other"] * 10
    assert codes.label("CODE_7") == "CODE_7"
    assert codes.label("NEW") == "other"
    assert CodeLabels().label("") == "unspecified"


def test_error_codes_reach_the_runs_as_labels() -> None:
    coded = runs(read(Fixed([INSTANCE], [RUN_ITEM, GOOD | {"status": "FAILED", "error": {}}])))
    assert [run.error.label for run in coded if run.error] == ["unspecified", "INTERNAL_ERROR"]


broken = st.dictionaries(st.sampled_from([*RUN_ITEM, "dueTime"]), plausible) | json_values


@given(st.lists(broken, max_size=6), st.lists(broken, max_size=6), st.randoms())
def test_no_item_stops_a_scan_or_loses_another(odd_instances: list[Any], odd_runs: list[Any], random: Any) -> None:
    odd_runs = [item for item in odd_runs if not (isinstance(item, dict) and item.get("id") in (GOOD["id"], 17))]
    instances = [*odd_instances, INSTANCE]
    items = [*odd_runs, GOOD]
    random.shuffle(items)
    notes: list[tuple[str, str]] = []
    told = read(Fixed(instances, items), notes)
    assert GOOD["id"] in [run.id for run in runs(told)]
    denied = [item for item in odd_runs if not isinstance(item, dict)]
    assert sum(kind == "backup_run" for kind, _field in notes) >= len(denied)
