"""Sharding: each instance belongs to exactly one shard, and shards together export what one process exports."""

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

INSTANCES = [InstanceId(f"project-{number // 40}", f"database-{number % 40}") for number in range(2000)]
PROJECTS = tuple(parse_world("fleet:60:6"))


@given(st.text(max_size=9), st.text(max_size=9), st.integers(1, 20), st.sampled_from(["project", "instance"]))
def test_instance_belongs_to_one_shard_which_polls_its_project(project: str, name: str, total: int, by: By) -> None:
    instance = InstanceId(project, name)
    (owner,) = (shard for index in range(total) if (shard := Shard(index, total, by)).holds(instance))
    assert owner.holds_project(project)


def test_instances_are_spread_evenly_over_shards() -> None:
    instance_counts = Counter(
        index for index in range(4) for instance in INSTANCES if Shard(index, 4, "instance").holds(instance)
    )
    assert all(400 < count < 600 for count in instance_counts.values())


def test_additional_shard_moves_instances_only_to_itself() -> None:
    def owner(instance: InstanceId, total: int) -> int:
        return next(index for index in range(total) if Shard(index, total, "instance").holds(instance))

    moved = [owner(instance, 5) for instance in INSTANCES if owner(instance, 4) != owner(instance, 5)]
    assert set(moved) == {4}
    assert len(moved) < len(INSTANCES) / 4


def test_owner_of_a_project_is_the_same_in_every_release() -> None:
    """Otherwise an upgrade would move counters."""
    owners = [next(i for i in range(3) if Shard(i, 3).holds_project(f"project-{n}")) for n in range(8)]
    assert owners == [2, 0, 0, 0, 0, 1, 2, 1]


@pytest.mark.parametrize("by", ["project", "instance"])
def test_shards_together_export_what_one_process_exports(by: By) -> None:
    with Simulator(world(parse_world("fleet:60:6"))) as simulator:
        settings = config(simulator.url).model_copy(update={"targets": config(projects=PROJECTS).targets})

        def exported_lines(shard: Shard) -> set[str]:
            """Lines with labels of instances, or of projects where those are sharded; without poll durations."""
            exporter = Exporter(lambda: settings, lambda: NOW, shard, process_metrics=False)
            exporter.poll_once(lambda _finished, _total: None)
            text = b"".join(exporter.exposition(TEXT).parts).decode()
            label = "project=" if by == "project" else "instance_id="
            return {line for line in text.splitlines() if label in line and "poll_duration" not in line}

        shards = [exported_lines(Shard(index, 3, by)) for index in range(3)]
        assert all(shards)
        assert sum(map(len, shards)) == len(set.union(*shards))
        assert set.union(*shards) == exported_lines(Shard())


@pytest.mark.parametrize(
    ("name", "index"),
    [("exporter-0", 0), ("cloudsql-backup-exporter-12", 12), ("laptop", None), ("pod-5f6d9", None), ("", None)],
)
def test_shard_index_from_statefulset_pod_name(name: str, index: int | None) -> None:
    assert ordinal(name) == index


@pytest.mark.parametrize(
    ("flags", "pod_name", "message"),
    [
        (
            ["--shard.total=3"],
            "laptop",
            "--shard.index is missing, and the host name 'laptop' does not end in a number",
        ),
        (["--shard.total=3"], "exporter-3", "the host name 'exporter-3' gives shard 3, but the shards are 0 to 2"),
        (["--shard.total=3", "--shard.index=4"], "", "--shard.index gives shard 4, but the shards are 0 to 2"),
        (["--shard.total=0"], "", "argument --shard.total: must be at least 1"),
        (["--shard.index=x"], "", "argument --shard.index: 'x' is not a whole number from 0 to 999999"),
        (["--shard.by=region"], "", "invalid choice: 'region'"),
    ],
)
def test_invalid_shard_flags_are_rejected(flags: list[str], pod_name: str, message: str) -> None:
    result = run("demo", "--web.listen-address=127.0.0.1:0", *flags, POD_NAME=pod_name)
    assert result.returncode == 2
    assert message in result.stderr
