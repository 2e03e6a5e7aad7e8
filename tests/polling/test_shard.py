"""Sharding: every instance is exported by exactly one shard, and the shards together say what one process does."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.model import InstanceId
from exporter.metrics.exposition import TEXT
from exporter.polling.shard import By, Shard, ordinal
from exporter.runtime import Exporter
from exporter.simulator import Simulator, parse_world
from tests.support.builders import NOW, config, world
from tests.support.processes import run

NAMES = [InstanceId(f"project-{number // 40}", f"database-{number % 40}") for number in range(2000)]


@given(st.text(max_size=9), st.text(max_size=9), st.integers(1, 20), st.sampled_from(["project", "instance"]))
def test_each_instance_belongs_to_one_shard_and_that_shard_reads_its_project(
    project: str, name: str, total: int, by: By
) -> None:
    instance = InstanceId(project, name)
    (holder,) = (shard for index in range(total) if (shard := Shard(index, total, by)).holds(instance))
    assert holder.holds_project(project)


def test_shards_hold_about_as_much_each() -> None:
    held = Counter(index for index in range(4) for name in NAMES if Shard(index, 4, "instance").holds(name))
    assert all(400 < count < 600 for count in held.values())


def test_with_one_shard_more_nothing_moves_but_to_the_new_one() -> None:
    def holder(name: InstanceId, total: int) -> int:
        return next(index for index in range(total) if Shard(index, total, "instance").holds(name))

    moved = [holder(name, 5) for name in NAMES if holder(name, 4) != holder(name, 5)]
    assert set(moved) == {4}
    assert len(moved) < len(NAMES) / 4


def test_where_a_project_goes_is_the_same_in_every_process_and_release() -> None:
    """Else an upgrade would move counters."""
    holders = [next(i for i in range(3) if Shard(i, 3).holds_project(f"project-{n}")) for n in range(8)]
    assert holders == [2, 0, 0, 0, 0, 1, 2, 1]


@pytest.mark.parametrize("by", ["project", "instance"])
def test_the_shards_together_export_exactly_what_one_process_does(by: By) -> None:
    with Simulator(world(parse_world("fleet:60:6"))) as simulator:
        settings = config(simulator.url).model_copy(update={"targets": config(projects=PROJECTS).targets})

        def told(shard: Shard) -> set[str]:
            """Every line about instances, and about projects where those are shared out; less the times of polls."""
            exporter = Exporter(lambda: settings, lambda: NOW, shard, process_metrics=False)
            exporter.poll_once(lambda _done, _total: None)
            text = b"".join(exporter.exposition(TEXT).parts).decode()
            about = "project=" if by == "project" else "instance_id="
            return {line for line in text.splitlines() if about in line and "poll_duration" not in line}

        shards = [told(Shard(index, 3, by)) for index in range(3)]
        assert all(shards)
        assert sum(map(len, shards)) == len(set.union(*shards))
        assert set.union(*shards) == told(Shard())


PROJECTS = tuple(parse_world("fleet:60:6"))


@pytest.mark.parametrize(
    ("name", "index"),
    [("exporter-0", 0), ("cloudsql-backup-exporter-12", 12), ("laptop", None), ("pod-5f6d9", None), ("", None)],
)
def test_a_statefulset_s_pod_knows_its_index(name: str, index: int | None) -> None:
    assert ordinal(name) == index


@pytest.mark.parametrize(
    ("flags", "pod", "says"),
    [
        (
            ["--shard.total=3"],
            "laptop",
            "--shard.index is missing, and the host name 'laptop' does not end in a number",
        ),
        (["--shard.total=3"], "exporter-3", "the host name 'exporter-3' says shard 3, but of 3 the last is 2"),
        (["--shard.total=3", "--shard.index=4"], "", "--shard.index says shard 4, but of 3 the last is 2"),
        (["--shard.total=0"], "", "there is at least one shard"),
        (["--shard.index=x"], "", "'x' is no whole number"),
        (["--shard.by=region"], "", "invalid choice: 'region'"),
    ],
)
def test_a_shard_that_cannot_be_is_refused(flags: list[str], pod: str, says: str) -> None:
    ended = run("demo", "--web.listen-address=127.0.0.1:0", *flags, POD_NAME=pod)
    assert ended.returncode == 2
    assert says in ended.stderr
