"""The page of deleted instances."""

import shlex
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from exporter.facts.collected import Collected
from exporter.facts.deleted_instances import DeletedInstance, LastExpiry
from exporter.facts.model import BackupType, InstanceId, PollResult
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.runtime import Exporter
from exporter.simulator import WORLDS, Simulator
from exporter.verdict.evaluate import Evaluation, evaluate
from exporter.verdict.summary import EXPIRES_SOON
from exporter.web import application
from exporter.web.pages.deleted_instances import MAX_ROWS, DeletedInstanceRow, deleted_instances_page
from tests.support.builders import DAY, EXPORTER_INFO, HOUR, MINUTE, NOW, SECOND, config, world
from tests.support.expositions import evaluate_world
from tests.support.processes import fetch
from tests.support.web import serving

NEVER, UNKNOWN, REPORTED = LastExpiry.NEVER, LastExpiry.UNKNOWN, LastExpiry.REPORTED


def deleted(name: str = "orders", left: timedelta | None = None, **fields: Any) -> DeletedInstance:
    """A deleted instance with one final backup that expires after a time; without one, with none."""
    some = {} if left is None else {"last_expiry": NOW + left, "last_expiry_status": REPORTED}
    identity = InstanceId("shop-prod", name)
    defaults: dict[str, Any] = {
        "read_at": NOW,
        "retained": 1,
        "newest": NOW - 9 * DAY,
        "newest_name": "projects/p/backups/1",
        "newest_type": BackupType.FINAL,
    }
    return DeletedInstance(identity, NOW - 9 * DAY, **{**defaults, **some, **fields})


def evaluation_of(*instances: DeletedInstance) -> Evaluation:
    status = ProjectStatus("shop-prod", PollResult.SUCCESS, collected=Collected(deleted_instances=instances))
    settings = config(collect={"deleted_instances": True})
    return evaluate(Snapshot({"shop-prod": status}), settings, EXPORTER_INFO, NOW)


def row(instance: DeletedInstance) -> DeletedInstanceRow:
    (found,) = deleted_instances_page(evaluation_of(instance), None).rows
    return found


@pytest.mark.parametrize(
    ("instance", "word", "style"),
    [
        (deleted(left=-SECOND), "expired", "at_risk"),
        (deleted(left=timedelta()), "expires soon", "at_risk"),
        (deleted(left=EXPIRES_SOON - SECOND), "expires soon", "at_risk"),
        (deleted(left=EXPIRES_SOON), "kept", "protected"),
        (deleted(last_expiry_status=NEVER), "kept", "protected"),
        (deleted(last_expiry_status=UNKNOWN), "unknown", "unknown"),
        (deleted(retained=0), "nothing left", "unprotected"),
    ],
)
def test_badge_tells_how_long_the_last_backup_is_kept(instance: DeletedInstance, word: str, style: str) -> None:
    assert (row(instance).badge.word, row(instance).badge.style) == (word, style)


@pytest.mark.parametrize(("age", "word"), [(7 * HOUR, "kept"), (7 * HOUR + MINUTE, "was kept")])
def test_what_was_not_read_in_time_is_not_shown_as_good(age: timedelta, word: str) -> None:
    """Full listings are 6 hours apart, and facts are stale after 1 hour."""
    assert row(deleted(left=9 * DAY, read_at=NOW - age)).badge.word == word
    assert row(deleted(left=DAY, read_at=NOW - age)).badge.word == "expires soon"


def test_those_that_expire_first_are_at_the_top() -> None:
    some = [
        deleted("none", retained=0),
        deleted("never", last_expiry_status=NEVER),
        deleted("unknown", last_expiry_status=UNKNOWN),
        deleted("later", 2 * DAY),
        deleted("sooner", DAY),
        deleted("expired", -DAY),
    ]
    page = deleted_instances_page(evaluation_of(*some), None)
    names = [found.instance.id.name for found in page.rows]
    assert names == ["expired", "sooner", "later", "unknown", "never", "none"]


def test_a_limited_number_of_the_selected_project_is_shown() -> None:
    evaluation = evaluation_of(*(deleted(f"i{number}", number * DAY) for number in range(MAX_ROWS + 1)))
    page = deleted_instances_page(evaluation, "shop-prod")
    assert (len(page.rows), page.total) == (MAX_ROWS, MAX_ROWS + 1)
    assert deleted_instances_page(evaluation, "museum").total == 0


def test_name_that_is_used_again_links_to_the_other_instance() -> None:
    rows = deleted_instances_page(evaluate_world(world(WORLDS["demo"]())), "museum").rows
    assert {found.instance.id.name: found.path for found in rows if found.path} == {
        "brand-new": "instances/museum/brand-new"
    }


def test_commands_keep_the_newest_backup_and_quote_names() -> None:
    hostile = "x'; rm -rf /"
    instance = replace(deleted(left=DAY), id=InstanceId("p", hostile))
    commands = [command.command for command in row(instance).commands]
    assert [shlex.split(command)[3:] for command in commands] == [
        ["list", "--project=p", f"--filter=instance:{hostile}"],
        ["describe", "projects/p/backups/1", "--project=p"],
        ["patch", "projects/p/backups/1", "--project=p", "--ttl-days=90"],
        ["restore", "projects/p/backups/1", "--project=p", f"--restore-instance={hostile}-restored"],
    ]
    assert [of.instance.id.name for of in deleted_instances_page(evaluation_of(instance), None).commands] == [hostile]
    assert not deleted_instances_page(evaluation_of(deleted(left=EXPIRES_SOON)), None).commands
    automated = row(deleted(left=DAY, newest_type=BackupType.AUTOMATED)).commands
    assert "patch" not in " ".join(command.command for command in automated)  # its expiry cannot be changed
    assert len(row(deleted(retained=0, newest_name="")).commands) == 1


def test_the_page_says_that_nothing_is_read_unless_it_is_switched_on() -> None:
    with Simulator(world({"museum": WORLDS["demo"]()["museum"]})) as simulator:
        exporter = Exporter(lambda: config(simulator.url), simulator.world.clock, process_metrics=False)
        exporter.poll_once(lambda _done, _total: None)
        with serving(application(exporter)) as server:
            text = fetch(f"{server.urls[0]}deleted").text
            missing = fetch(f"{server.urls[0]}deleted?project=museu")
    assert "<code>collect.deleted_instances</code> is <code>false</code>" in text
    assert "<table" not in text
    assert (missing.status, "deleted?project=museum" in missing.text) == (404, True)
