"""The cached exposition is equal, byte by byte, to the encoding of the client library after any changes."""

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
from tests.support.expositions import COLLECT, encode_families, evaluate_world, families

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
counters = st.builds(
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
    lambda region, labels, past, counted: Record(
        replace(INSTANCE, region=region, user_labels=labels), history(past), counted
    ),
    texts,
    st.dictionaries(st.sampled_from(["team", "env"]), texts),
    st.lists(runs, max_size=3),
    counters,
)
worlds = st.dictionaries(texts, st.dictionaries(texts, records, max_size=3), max_size=3)


def snapshot_of(projects: dict[str, dict[str, Record]]) -> Snapshot:
    snapshot = Snapshot().with_search('state:"ACTIVE"\n', SearchStatus(True, True, tuple(projects)))
    for project, project_records in projects.items():
        identified = {
            name: replace(record, instance=replace(record.instance, id=InstanceId(project, name)))
            for name, record in project_records.items()
        }
        scan = ProjectScan(NOW, NOW, records=MappingProxyType(identified))
        snapshot = snapshot.with_project(ProjectStatus(project).succeeded(scan, timedelta(seconds=1.5)))
    return snapshot


def bytes_of(exposition: Exposition, content_type: str) -> bytes:
    """The plain exposition, after a check that the compressed one is the same."""
    plain, compressed = (exposition.body(content_type, gzip=use_gzip) for use_gzip in (False, True))
    assert plain.length == sum(map(len, plain.parts))
    assert compressed.length == sum(map(len, compressed.parts))
    text = b"".join(plain.parts)
    assert gzip.decompress(b"".join(compressed.parts)) == text
    return text


@settings(max_examples=100, deadline=None)
@given(projects=worlds, later=st.timedeltas(timedelta(), 400 * DAY), content_type=st.sampled_from(FORMATS))
def test_bytes_equal_those_of_the_client_library(
    projects: dict[str, dict[str, Record]], later: timedelta, content_type: str
) -> None:
    instrumentation = Instrumentation(process=False)
    evaluation = evaluate(snapshot_of(projects), config(collect=COLLECT), EXPORTER_INFO, NOW + later)
    exposition = Exposition(lambda _before: evaluation, lambda: evaluation.now, instrumentation.exposition)
    expected = encode_families(content_type, families(evaluation, instrumentation))
    assert bytes_of(exposition, content_type) == expected


def test_bytes_after_every_change_equal_those_of_a_new_exposition() -> None:
    """Instances change, appear and disappear, time passes, and policies change: nothing outdated remains."""
    randomness = random.Random(20261123)
    initial = evaluate_world(world(parse_world("fleet:120:4")))
    projects = {status.project: dict(status.scan.records) for status in initial.projects if status.scan}
    now, configuration = NOW, config(collect=COLLECT)
    snapshot = Snapshot({status.project: status for status in initial.projects})
    instrumentation = Instrumentation(process=False)
    exposition = Exposition(
        lambda before: evaluate(snapshot, configuration, EXPORTER_INFO, now, before),
        lambda: now,
        instrumentation.exposition,
    )

    def new_exposition() -> Exposition:
        return Exposition(
            lambda _before: evaluate(snapshot, configuration, EXPORTER_INFO, now),
            lambda: now,
            instrumentation.exposition,
        )

    for step in range(24):
        project = randomness.choice(sorted(projects))
        name = randomness.choice(sorted(projects[project]))
        record = projects[project][name]
        match step % 6:
            case 0:
                projects[project][name] = replace(record, history=history([*record.history.runs, run(ago=HOUR)]))
            case 1:
                projects[project][name] = replace(record, counters=replace(record.counters, completed={}))
            case 2:
                del projects[project][name]
            case 3:
                added = replace(record.instance, id=InstanceId(project, f"new-{step}"))
                projects[project][added.id.name] = replace(record, instance=added)
            case 4:
                now += randomness.choice([MINUTE, HOUR, DAY])
            case _:
                hours = randomness.randrange(20, 40)
                configuration = config(collect=COLLECT, policies=[{"max_age": f"{hours}h"}])
        if step % 6 != 4:  # changes caused by time alone are found by the scrape
            scan = ProjectScan(now, now, records=dict(projects[project]))
            snapshot = snapshot.with_project(snapshot.projects[project].succeeded(scan, MINUTE))
            exposition.render()
        for content_type in FORMATS:
            evaluation = evaluate(snapshot, configuration, EXPORTER_INFO, now)
            expected = encode_families(content_type, families(evaluation, instrumentation))
            assert bytes_of(exposition, content_type) == expected
            parts, expected_parts = (of.body(content_type, gzip=False).parts for of in (exposition, new_exposition()))
            assert parts == expected_parts  # in the same blocks


def test_unchanged_blocks_are_not_rendered_again() -> None:
    evaluation = evaluate_world(world(parse_world("fleet:400:8")))
    snapshot = Snapshot({status.project: status for status in evaluation.projects})
    now = NOW
    exposition = Exposition(
        lambda before: evaluate(snapshot, evaluation.config, EXPORTER_INFO, now, before),
        lambda: now,
        Instrumentation(process=False).exposition,
    )
    first = exposition.body(TEXT, gzip=False).parts[:-1]
    now += MINUTE
    second = exposition.body(TEXT, gzip=False).parts[:-1]
    assert all(part is same for part, same in zip(first, second, strict=True))
    status = snapshot.projects["team-003-prod"]
    assert status.scan
    changed = dict(status.scan.records)
    changed["database-0007"] = replace(changed["database-0007"], counters=Counters(NOW))
    scan = replace(status.scan, records=changed)
    snapshot = snapshot.with_project(replace(status, scan=scan))
    exposition.render()
    rendered = set(map(id, exposition.body(TEXT, gzip=False).parts[:-1])) - set(map(id, first))
    assert 0 < len(rendered) < len(first) / 4


def test_changed_user_labels_are_exported_after_a_reload() -> None:
    evaluation = evaluate_world(world(parse_world("fleet:5:1")))
    without_labels = replace(evaluation, config=config(collect={"user_labels": []}))
    evaluations = [evaluation, without_labels, evaluation]
    exposition = Exposition(lambda _before: evaluations.pop(0), lambda: NOW, Instrumentation(process=False).exposition)
    has_labels = []
    while evaluations:
        exposition.render()
        has_labels.append(b"label_team" in b"".join(exposition.body(TEXT, gzip=False).parts))
    assert has_labels == [True, False, True]


@pytest.mark.parametrize(
    ("header", "accepted"),
    [
        ("gzip", True),
        ("deflate, GZIP;q=0.5", True),
        ("gzip;q=0", False),
        ("", False),
        ("identity", False),
        ("*", False),
    ],
)
def test_gzip_only_when_accepted(header: str, accepted: bool) -> None:
    assert accepts_gzip(header) is accepted


class BlockingCounter:
    """A computation that blocks until it is released, and returns how often it was started."""

    def __init__(self) -> None:
        self.starts, self.started, self.released = 0, threading.Event(), threading.Event()

    def __call__(self) -> int:
        self.starts += 1
        self.started.set()
        assert self.released.wait(10)
        return self.starts


def test_concurrent_callers_share_the_next_computation() -> None:
    counter = BlockingCounter()
    single_flight = SingleFlight(counter)
    results: list[int] = []
    first = threading.Thread(target=lambda: results.append(single_flight.get()))
    first.start()
    assert counter.started.wait(10)
    later = [threading.Thread(target=lambda: results.append(single_flight.get())) for _ in range(5)]
    for thread in later:
        thread.start()
    counter.released.set()
    for thread in [first, *later]:
        thread.join(10)
    assert min(results) == 1
    assert set(sorted(results)[1:]) <= {2, 3}
    assert counter.starts <= 3
    assert single_flight.get() == counter.starts


def test_an_error_is_raised_in_its_caller_and_not_in_the_next() -> None:
    outcomes: list[ValueError | int] = [ValueError("no"), 7]

    def compute() -> int:
        outcome = outcomes.pop(0)
        if isinstance(outcome, ValueError):
            raise outcome
        return outcome

    single_flight = SingleFlight(compute)
    with pytest.raises(ValueError, match="no"):
        single_flight.get()
    assert single_flight.get() == 7
