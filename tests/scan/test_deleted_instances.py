"""Reading deleted instances: items in both spellings, odd ones, and listings that are incomplete."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.deleted_instances import Backup, BackupState, DeletedInstance, LastExpiry
from exporter.facts.model import BackupType
from exporter.scan.deleted_instances import Options, parse_backup, read_deleted_instances
from exporter.scan.parse import Parsed, UnreadableItemError
from exporter.scan.source import UNKNOWN_REGION, Page
from exporter.simulator import SimulatedClock, World
from exporter.simulator.backups import DeletedInstance as Deleted
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import DELETED, Project
from tests.support.builders import DAY, HOUR, NOW, WorldSource, encoded, world
from tests.support.strategies import json_values

LATEST = NOW + DAY
ITEM: dict[str, Any] = {
    "kind": "sql#backup",
    "name": "projects/p/backups/b1",
    "instance": "pg-old",
    "type": "FINAL",
    "state": "SUCCESSFUL",
    "instanceDeletionTime": "2026-11-02T09:00:00Z",
    "expiryTime": "2026-12-02T09:00:00Z",
    "backupInterval": {"startTime": "2026-11-02T08:55:10Z", "endTime": "2026-11-02T08:56:01Z"},
    "location": "eu",
    "maxChargeableBytes": "1073741824",
    "backupRun": "projects/p/instances/pg-old/backupRuns/1793609710000",
    "instanceSettings": {
        "region": "europe-west1",
        "settings": {
            "userLabels": {"env": "prod"},
            "backupConfiguration": {"backupRetentionSettings": {"retentionUnit": "COUNT", "retainedBackups": 7}},
        },
    },
}


def parsed(item: object) -> Parsed[Backup]:
    found = parse_backup(item, latest=LATEST)
    assert found is not None
    return found


def without(*names: str) -> dict[str, Any]:
    return {key: value for key, value in ITEM.items() if key not in names}


def retention(**fields: object) -> dict[str, Any]:
    settings = {"backupConfiguration": {"backupRetentionSettings": fields}}
    return ITEM | {"instanceSettings": {"settings": settings}}


def test_item_is_parsed_field_by_field() -> None:
    deleted = NOW.replace(day=2, hour=9)
    assert parsed(ITEM) == Parsed(
        Backup(
            name="projects/p/backups/b1",
            instance="pg-old",
            deleted=deleted,
            type=BackupType.FINAL,
            state=BackupState.SUCCESSFUL,
            start=deleted - timedelta(minutes=4, seconds=50),
            expires=True,
            expiry=deleted + 30 * DAY,
            size_bytes=2**30,
            location="eu",
            region="europe-west1",
            retained_backups=7,
            user_labels={"env": "prod"},
        )
    )


def test_published_spelling_means_the_same() -> None:
    published = without("state", "backupRun", "instance") | {
        "status": ITEM["state"],
        "backup_run": ITEM["backupRun"],
        "dataDiskSizeGB": "10",
    }
    assert parsed(published) == parsed(ITEM)


@pytest.mark.parametrize("value", [None, ""])
def test_backup_of_an_instance_that_exists_is_skipped(value: object) -> None:
    assert parse_backup(ITEM | {"instanceDeletionTime": value, "instance": 7}, latest=LATEST) is None
    assert parse_backup(without("instanceDeletionTime"), latest=LATEST) is None


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (None, "not an object"),
        ("text", "not an object"),
        (ITEM | {"instanceDeletionTime": "soon"}, "instanceDeletionTime"),
        (ITEM | {"instanceDeletionTime": 7}, "instanceDeletionTime"),
        (ITEM | {"instanceDeletionTime": "2027-11-02T09:00:00Z"}, "instanceDeletionTime"),
        (without("instance", "backupRun"), "instance"),
        (without("instance") | {"backupRun": "pg-old"}, "instance"),
        (ITEM | {"instance": 7, "backupRun": None}, "instance"),
    ],
)
def test_item_without_instance_or_deletion_is_unreadable(item: object, message: str) -> None:
    with pytest.raises(UnreadableItemError, match=message):
        parse_backup(item, latest=LATEST)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"type": None}, "type"),
        ({"state": None}, "state"),
        ({"state": 7}, "state"),
        ({"backupInterval": {"startTime": "soon"}}, "backupInterval.startTime"),
        ({"backupInterval": 7}, "backupInterval"),
        ({"maxChargeableBytes": "-1"}, "maxChargeableBytes"),
        ({"expiryTime": "soon"}, "expiryTime"),
        ({"instanceSettings": []}, "instanceSettings"),
    ],
)
def test_unreadable_field_is_reported_and_others_are_parsed(fields: dict[str, object], name: str) -> None:
    found = parsed(ITEM | fields)
    assert found.unreadable == (name,)
    assert (found.fact.name, found.fact.deleted) == (ITEM["name"], NOW.replace(day=2, hour=9))


def test_unreadable_expiry_is_not_a_missing_one() -> None:
    assert (parsed(ITEM | {"expiryTime": "soon"}).fact.expires, parsed(without("expiryTime")).fact.expires) == (
        True,
        False,
    )
    assert parsed(ITEM | {"expiryTime": "2126-11-02T09:00:00Z"}).fact.expiry == NOW.replace(2126, day=2, hour=9)


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"retainedBackups": 30}, 30),
        ({"retainedBackups": "30", "retentionUnit": "RETENTION_UNIT_UNSPECIFIED"}, 30),
        ({"retainedBackups": 30, "retentionUnit": "DAYS"}, None),
        ({"retainedBackups": 0}, None),
        ({"retainedBackups": 2**62}, None),
        ({}, None),
    ],
)
def test_retention_that_is_not_a_plausible_count_is_unknown(fields: dict[str, object], expected: int | None) -> None:
    assert parsed(retention(**fields)).fact.retained_backups == expected


def test_unknown_words_are_readable() -> None:
    found = parsed(ITEM | {"type": "YEARLY", "state": "ARCHIVED"})
    assert (found.fact.type, found.fact.state) == (BackupType.UNKNOWN, BackupState.UNKNOWN)
    assert found.unreadable == ()


@given(json_values | st.dictionaries(st.sampled_from([*ITEM, "status", "backup_run"]), json_values))
def test_any_item_is_read_skipped_or_unreadable(item: object) -> None:
    try:
        found = parse_backup(item, latest=LATEST)
    except UnreadableItemError:
        return
    assert found is None or found.fact.instance


@dataclass
class ListedPages:
    """A source of given pages; of the rest of Source nothing is called."""

    pages: Iterable[Page]
    requests: list[str] = field(default_factory=list)

    def backups(self, project: str) -> Iterator[Page]:
        self.requests.append(project)
        return iter(self.pages)


def read(
    source: Any,
    now: Any = NOW,
    before: Iterable[DeletedInstance] = (),
    selects: Callable[[DeletedInstance], bool] = lambda _instance: True,
    unreadable: Callable[[str], None] = lambda _text: None,
) -> dict[str, DeletedInstance]:
    """The deleted instances of the project, by name and age at the deletion in days."""
    found = read_deleted_instances(source, "museum", now, Options(selects, unreadable), before)
    assert [instance.key for instance in found] == sorted(instance.key for instance in found)
    return {f"{instance.id.name} {(NOW - instance.deleted).days}": instance for instance in found}


def museum(*deleted: Deleted) -> World:
    return world({"museum": Project({"healthy": SCENARIOS["healthy"]}, deleted=deleted)})


def test_deleted_instances_of_a_world() -> None:
    found = read(WorldSource(museum(*DELETED)))
    assert {name: (of.retained, of.last_expiry, of.last_expiry_status) for name, of in found.items()} == {
        "brand-new 0": (7, NOW - 3 * HOUR + 7 * DAY, LastExpiry.ESTIMATED),
        "brand-new 10": (1, NOW + 20 * DAY, LastExpiry.REPORTED),
        "former-both 3": (6, NOW + 27 * DAY, LastExpiry.REPORTED),
        "former-dated 6": (2, NOW + DAY, LastExpiry.REPORTED),
        "former-failing 4": (0, None, None),
        "former-final 28": (1, NOW + 2 * DAY, LastExpiry.REPORTED),
        "former-on-demand 40": (1, None, LastExpiry.NEVER),
        "former-retained 2": (6, NOW + 5 * DAY, LastExpiry.ESTIMATED),
        "former-unknown 5": (3, None, LastExpiry.UNKNOWN),
    }


def test_instance_appears_with_its_deletion_and_disappears_with_its_last_backup() -> None:
    simulated = museum(Deleted("a", -HOUR))
    clock = simulated.clock
    assert isinstance(clock, SimulatedClock)
    assert read(WorldSource(simulated)) == {}
    clock.advance(HOUR)
    (first,) = read(WorldSource(simulated), clock()).values()
    assert (first.retained, first.last_expiry) == (7, NOW + HOUR + 7 * DAY)
    clock.advance(7 * DAY)
    (last,) = read(WorldSource(simulated), clock()).values()  # expired, and still listed
    assert (last.retained, last.last_expiry) == (1, clock())
    clock.advance(3 * HOUR)
    assert read(WorldSource(simulated), clock()) == {}


def test_only_selected_instances_are_returned() -> None:
    source = ListedPages([Page([encoded(ITEM), encoded(ITEM | {"instance": "b", "instanceSettings": None})])])
    assert read(source, selects=lambda of: of.id.name == "b").keys() == {"b 21"}
    assert read(source, selects=lambda of: of.user_labels == {"env": "prod"}).keys() == {"pg-old 21"}


@pytest.mark.parametrize("odd", [b"null", b'"backup"', b"7", b"[", b'{"instanceDeletionTime": "soon"}', b"\xff"])
def test_odd_item_affects_no_other_and_is_reported(odd: bytes) -> None:
    reported: list[str] = []
    source = ListedPages([Page([odd, encoded(ITEM)]), Page([encoded(ITEM | {"name": "b2"}), odd], last=True)])
    assert read(source, unreadable=reported.append)["pg-old 21"].retained == 2
    assert len(reported) == 2


def test_partly_readable_item_is_reported_and_counts() -> None:
    reported: list[str] = []
    source = ListedPages([Page([encoded(ITEM | {"maxChargeableBytes": [], "location": 7})])])
    assert read(source, unreadable=reported.append)["pg-old 21"].retained == 1
    assert reported == ["maxChargeableBytes, location"]


def known(*places: str, name: str = "pg-old", retained: int = 3) -> DeletedInstance:
    (found,) = read(ListedPages([Page([encoded(ITEM | {"instance": name})])]), NOW - 6 * HOUR).values()
    return replace(found, places=places, retained=retained)


@pytest.mark.parametrize(
    ("regions", "places", "stays"),
    [
        ((), ("europe-west1",), False),
        (("europe-west1",), ("eu", "europe-west1"), True),
        (("eu",), ("eu", "europe-west1"), True),
        (("europe-west9",), ("eu", "europe-west1"), False),
        (("europe-west9",), (), True),  # its region is not known
        ((UNKNOWN_REGION,), ("eu", "europe-west1"), True),
    ],
)
def test_instance_that_an_incomplete_listing_may_lack_stays(
    regions: tuple[str, ...], places: tuple[str, ...], stays: bool
) -> None:
    before = known(*places)
    for items in ([], [encoded(ITEM)]):  # none of its backups, one of three
        found = read(ListedPages([Page([]), Page(items, regions)]), before=[before])
        assert ([before] == list(found.values())) is stays
        assert stays or len(found) == len(items)


def test_complete_facts_replace_older_ones_also_from_an_incomplete_listing() -> None:
    before = known("europe-west1", retained=1)
    found = read(ListedPages([Page([encoded(ITEM)], ("europe-west1",))]), before=[before])
    assert [instance.read_at for instance in found.values()] == [NOW]


def test_instance_that_is_no_longer_selected_does_not_stay() -> None:
    before = known("europe-west1")
    assert read(ListedPages([Page([], ("europe-west1",))]), before=[before], selects=lambda _instance: False) == {}
