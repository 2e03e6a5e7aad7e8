"""The kept exposition, byte by byte: what the client library would write, however it came about."""

import gzip
import random
import threading
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.facts.counters import Counters, Durations
from exporter.facts.history import history
from exporter.facts.model import BackupType, InstanceId, RunStatus
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, SearchStatus, Snapshot
from exporter.metrics.exposition import OPENMETRICS, TEXT, Exposition, accepts_gzip
from exporter.metrics.exposition.singleflight import SingleFlight
from exporter.metrics.instrumentation import Instrumentation
from exporter.simulator import parse_world
from exporter.verdict.evaluate import evaluate
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, INSTANCE, MINUTE, NOW, config, run, world
from tests.support.expositions import LABELS, families, seen, written

FORMATS = [TEXT, OPENMETRICS]

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=4) | st.sampled_from(
    ['"', "\\", "\n", 'a\\n"', "%s"]
)
codes = st.dictionaries(texts, st.integers(0, 2**60), max_size=2)
runs = st.builds(
    run,
    status=st.sampled_from(RunStatus),
    ago=st.floats(-1, 3000).map(lambda hours: timedelta(hours=hours)),
    took=st.floats(0, 1e6).map(lambda seconds: timedelta(seconds=seconds)),
    kind=st.sampled_from(BackupType),
    code=texts,
)
accounts = st.builds(
    lambda errors, seconds: Counters(
        NOW,
        completed={BackupType.AUTOMATED: {RunStatus.FAILED: 2**40}},
        errors={BackupType.AUTOMATED: errors},
        durations={BackupType.AUTOMATED: Durations(3, seconds)},
    ),
    codes,
    st.floats(0, 1e12),
)
records = st.builds(
    lambda region, labels, past, account: Record(
        replace(INSTANCE, region=region, user_labels=labels), history(past), account
    ),
    texts,
    st.dictionaries(st.sampled_from(["team", "env"]), texts),
    st.lists(runs, max_size=3),
    accounts,
)
worlds = st.dictionaries(texts, st.dictionaries(texts, records, max_size=3), max_size=3)


def snapshot_of(projects: dict[str, dict[str, Record]]) -> Snapshot:
    snapshot = Snapshot().with_search('state:"ACTIVE"\n', SearchStatus(True, True, tuple(projects)))
    for project, told in projects.items():
        placed = {
            name: replace(record, instance=replace(record.instance, id=InstanceId(project, name)))
            for name, record in told.items()
        }
        scan = ProjectScan(NOW, NOW, records=MappingProxyType(placed))
        snapshot = snapshot.with_project(ProjectStatus(project).succeeded(scan, timedelta(seconds=1.5)))
    return snapshot


def bytes_of(exposition: Exposition, content_type: str) -> bytes:
    """The exposition; plain and compressed are found to be the same."""
    plain, compressed = (exposition.body(content_type, gzip=squeezed) for squeezed in (False, True))
    assert plain.length == sum(map(len, plain.parts))
    assert compressed.length == sum(map(len, compressed.parts))
    text = b"".join(plain.parts)
    assert gzip.decompress(b"".join(compressed.parts)) == text
    return text


@settings(max_examples=100, deadline=None)
@given(projects=worlds, later=st.timedeltas(timedelta(), 400 * DAY), content_type=st.sampled_from(FORMATS))
def test_the_bytes_are_those_of_the_client_library(
    projects: dict[str, dict[str, Record]], later: timedelta, content_type: str
) -> None:
    meters = Instrumentation(process=False)
    told = evaluate(snapshot_of(projects), config(collect=LABELS), EXPORTER_INFO, NOW + later)
    exposition = Exposition(lambda _before: told, lambda: told.now, meters.exposition)
    assert bytes_of(exposition, content_type) == written(content_type, families(told, meters))


def test_after_every_change_the_bytes_are_those_of_a_new_exposition() -> None:
    """Instances change, come and go, projects fail, time passes, a policy is another: nothing old stays behind."""
    dice = random.Random(20261123)
    all_seen = seen(world(parse_world("fleet:60:4")))
    projects = {status.project: dict(status.scan.records) for status in all_seen.projects if status.scan}
    now, settled = NOW, config(collect=LABELS)
    snapshot = Snapshot({status.project: status for status in all_seen.projects})
    meters = Instrumentation(process=False)
    exposition = Exposition(
        lambda before: evaluate(snapshot, settled, EXPORTER_INFO, now, before), lambda: now, meters.exposition
    )
    for step in range(24):
        project = dice.choice(sorted(projects))
        name = dice.choice(sorted(projects[project]))
        record = projects[project][name]
        match step % 6:
            case 0:
                projects[project][name] = replace(record, history=history([*record.history.runs, run(ago=HOUR)]))
            case 1:
                projects[project][name] = replace(record, counters=replace(record.counters, completed={}))
            case 2:
                del projects[project][name]
            case 3:
                new = replace(record.instance, id=InstanceId(project, f"new-{step}"))
                projects[project][new.id.name] = replace(record, instance=new)
            case 4:
                now += dice.choice([MINUTE, HOUR, DAY])
            case _:
                hours = dice.randrange(20, 40)
                settled = config(collect=LABELS, policies=[{"max_age": f"{hours}h"}])
        if step % 6 != 4:  # what only time brings, a scrape finds by itself
            scan = ProjectScan(now, now, records=dict(projects[project]))
            snapshot = snapshot.with_project(snapshot.projects[project].succeeded(scan, MINUTE))
            exposition.render()
        for content_type in FORMATS:
            fresh = evaluate(snapshot, settled, EXPORTER_INFO, now)
            assert bytes_of(exposition, content_type) == written(content_type, families(fresh, meters))


def test_what_did_not_change_is_not_rendered_again() -> None:
    told = seen(world(parse_world("fleet:400:8")))
    snapshot = Snapshot({status.project: status for status in told.projects})
    now = NOW
    exposition = Exposition(
        lambda before: evaluate(snapshot, told.config, EXPORTER_INFO, now, before),
        lambda: now,
        Instrumentation(process=False).exposition,
    )
    first = exposition.body(TEXT, gzip=False).parts[:-1]
    now += MINUTE
    again = exposition.body(TEXT, gzip=False).parts[:-1]
    assert all(one is other for one, other in zip(first, again, strict=True))
    status = snapshot.projects["team-003-prod"]
    assert status.scan
    changed = dict(status.scan.records)
    changed["database-0007"] = replace(changed["database-0007"], counters=Counters(NOW))
    scan = replace(status.scan, records=changed)
    snapshot = snapshot.with_project(replace(status, scan=scan))
    exposition.render()
    rendered = set(map(id, exposition.body(TEXT, gzip=False).parts[:-1])) - set(map(id, first))
    assert 0 < len(rendered) < len(first) / 4


def test_another_set_of_user_labels_is_exported_after_a_reload() -> None:
    told = seen(world(parse_world("fleet:5:1")))
    views = [told, replace(told, config=config(collect={"user_labels": []})), told]
    exposition = Exposition(lambda _before: views.pop(0), lambda: NOW, Instrumentation(process=False).exposition)
    shown = []
    while views:
        exposition.render()
        shown.append(b"label_team" in b"".join(exposition.body(TEXT, gzip=False).parts))
    assert shown == [True, False, True]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("", False),
        ("identity", False),
        ("*", False),
    ],
)
def test_gzip_is_for_who_asks_for_it(header: str, wanted: bool) -> None:
    assert accepts_gzip(header) is wanted


class Counted:
    """Makes numbers, one at a time, when it is let."""

    def __init__(self) -> None:
        self.made, self.effective_start, self.let = 0, threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.made += 1
        self.effective_start.set()
        assert self.let.wait(10)
        return self.made


def test_those_who_ask_while_something_is_made_share_the_next_one() -> None:
    counted = Counted()
    shared = SingleFlight(counted)
    given: list[int] = []
    first = threading.Thread(target=lambda: given.append(shared.get()))
    first.start()
    assert counted.effective_start.wait(10)
    late = [threading.Thread(target=lambda: given.append(shared.get())) for _ in range(5)]
    for thread in late:
        thread.start()
    counted.let.set()
    for thread in [first, *late]:
        thread.join(10)
    assert min(given) == 1
    assert set(sorted(given)[1:]) <= {2, 3}
    assert counted.made <= 3
    assert shared.get() == counted.made


def test_what_goes_wrong_goes_wrong_for_who_asked_and_not_for_the_next() -> None:
    outcomes: list[ValueError | int] = [ValueError("no"), 7]

    def make() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    shared = SingleFlight(make)
    with pytest.raises(ValueError, match="no"):
        shared.get()
    assert shared.get() == 7
