"""The stored daily record: the same from memory and from a file, after restarts, failed writes and migrations."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.facts.daily import DailyRecord, InstanceDay, ProjectDay, start_of
from exporter.facts.model import RunStatus
from exporter.scan.incremental import scan
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from exporter.state import day_rows
from exporter.state.ledger import Ledger, MemoryLedger
from exporter.state.sqlite import FILE, VERSION, open_ledger
from tests.support.builders import DAY, NOW, WorldSource, scan_options, world

TODAY = NOW.date()
GOOD = InstanceDay("protected", RunStatus.SUCCESSFUL, 8 * 3600, True, int(NOW.timestamp()), 90_000, 0, None)


def record(
    day: date, later_outcomes: dict[tuple[date, str], RunStatus] | None = None, **instances: InstanceDay
) -> DailyRecord:
    """A day of which the first half was observed."""
    return DailyRecord(ProjectDay(day, 43_200.5, start_of(day) + DAY / 2), instances, later_outcomes or {})


def read(ledger: Ledger, name: str = "orders") -> dict[date, InstanceDay]:
    found = ledger.days("shop-prod", name, date.min + DAY, date.max - DAY)
    return {project.day: day for project, day in found}


@pytest.fixture(params=["memory", "file"])
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Ledger]:
    with closing(MemoryLedger() if request.param == "memory" else open_ledger(tmp_path / "data")) as opened:
        yield opened


days = st.builds(
    InstanceDay,
    state=st.sampled_from(["unprotected", "unknown", "at_risk", "protected", "exempt"]),
    outcome=st.none() | st.sampled_from([status for status in RunStatus if not status.deleted]),
    window_closes=st.none() | st.integers(0, 86_340),
    windows_closed=st.integers(0, 255),
    within_policy=st.none() | st.booleans(),
    recovery_point=st.none() | st.integers(1, 2**32 - 1),
    worst_age=st.none() | st.integers(0, 2**31 - 1),
    observed_from=st.integers(0, 86_400),
    observed_until=st.none() | st.integers(0, 86_400),
)


@given(days)
def test_day_round_trip(day: InstanceDay) -> None:
    assert day_rows.decode(day_rows.encode(day)) == day
    assert len(day_rows.encode(day)) == 24


@pytest.mark.parametrize("body", [b"", b"\xff" * 24, day_rows.encode(GOOD)[:-1]])
def test_damaged_day_raises_value_error(body: bytes) -> None:
    with pytest.raises(ValueError, match="daily record"):
        day_rows.decode(body)


def test_days_of_an_instance_are_read_in_order(ledger: Ledger) -> None:
    assert ledger.daily_record("shop-prod") is None
    yesterday, today = record(TODAY - DAY, orders=GOOD), record(TODAY, orders=replace(GOOD, state="at_risk"), new=GOOD)
    ledger.save("shop-prod", None, [yesterday])
    ledger.save("shop-prod", None, [today])
    assert ledger.daily_record("shop-prod") == today
    assert read(ledger) == {TODAY - DAY: GOOD, TODAY: replace(GOOD, state="at_risk")}
    assert read(ledger, "new") == {TODAY: GOOD}
    assert [project.day for project, _ in ledger.days("shop-prod", "orders", TODAY, TODAY)] == [TODAY]
    assert ledger.days("other", "orders", TODAY, TODAY) == []


def test_outcomes_that_become_known_later_are_saved_with_their_day(ledger: Ledger) -> None:
    for ago in (9, 1):
        ledger.save("shop-prod", None, [record(TODAY - ago * DAY, orders=GOOD, users=GOOD)])
    ledger.save("shop-prod", None, [record(TODAY, orders=GOOD, users=GOOD)])
    yesterday = {(TODAY - DAY, "orders"): RunStatus.FAILED}
    ledger.save("shop-prod", None, [record(TODAY, yesterday, orders=GOOD, users=GOOD)])
    later = {**yesterday, (TODAY - 9 * DAY, "orders"): RunStatus.SKIPPED, (TODAY - 8 * DAY, "orders"): RunStatus.FAILED}
    ledger.save("shop-prod", None, [record(TODAY, later, orders=GOOD, users=GOOD)])
    assert read(ledger) == {
        TODAY - 9 * DAY: replace(GOOD, outcome=RunStatus.SKIPPED),
        TODAY - DAY: replace(GOOD, outcome=RunStatus.FAILED),
        TODAY: GOOD,
    }
    assert set(read(ledger, "users").values()) == {GOOD}


def test_record_is_read_at_next_start(tmp_path: Path) -> None:
    today = record(TODAY, orders=replace(GOOD, within_policy=None))
    with closing(open_ledger(tmp_path)) as ledger:
        ledger.save("shop-prod", None, [record(TODAY - DAY, orders=GOOD)])
        ledger.save("shop-prod", None, [today])
    with closing(open_ledger(tmp_path)) as ledger:
        assert ledger.daily_record("shop-prod") == today
        assert read(ledger).keys() == {TODAY - DAY, TODAY}


def test_only_changed_days_are_written(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path)) as ledger, closing(sqlite3.connect(tmp_path / FILE)) as reader:
        first = record(TODAY, orders=GOOD, users=GOOD)
        ledger.save("shop-prod", None, [first])
        reader.execute("CREATE TABLE written (day INTEGER)")
        reader.execute("CREATE TRIGGER t AFTER INSERT ON instance_day BEGIN INSERT INTO written VALUES (NEW.day); END")
        changed = {**first.instances, "orders": replace(GOOD, state="at_risk")}
        ledger.save("shop-prod", None, [replace(first, instances=changed)])
        assert reader.execute("SELECT count(*) FROM written").fetchone() == (1,)


def test_days_that_could_not_be_written_are_written_later(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path)) as ledger, closing(sqlite3.connect(tmp_path / FILE, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        ledger.save("shop-prod", None, [record(TODAY - DAY, orders=GOOD)])
        assert not ledger.persistent
        other.execute("ROLLBACK")
        later = {(TODAY - DAY, "orders"): RunStatus.FAILED}
        ledger.save("shop-prod", None, [record(TODAY, later, orders=GOOD)])
        assert read(ledger) == {TODAY - DAY: replace(GOOD, outcome=RunStatus.FAILED), TODAY: GOOD}


def test_days_beyond_the_history_are_deleted(tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path, history=timedelta(days=3))) as ledger:
        for ago in range(5, -1, -1):
            ledger.save("shop-prod", None, [record(TODAY - ago * DAY, orders=GOOD)])
        assert sorted(read(ledger)) == [TODAY - ago * DAY for ago in (3, 2, 1, 0)]


@pytest.mark.parametrize("version", [3, 4])
def test_file_of_an_earlier_version_is_migrated(tmp_path: Path, version: int) -> None:
    """The files were written by earlier versions of the exporter."""
    shutil.copy(Path(__file__).parent / "data" / f"version-{version}.sqlite3", tmp_path / FILE)
    museum = world({"museum": Project({name: SCENARIOS[name] for name in ("healthy", "failing", "idle", "suspended")})})
    with closing(open_ledger(tmp_path)) as ledger:
        assert ledger.persistent
        saved = ledger.scans()["museum"]
        assert {name: len(r.history.runs) for name, r in saved.records.items()} == {
            name: len(r.history.runs)
            for name, r in scan(WorldSource(museum), "museum", NOW, scan_options(), None).records.items()
        }
        ledger.save("shop-prod", None, [record(TODAY, orders=GOOD)])
    with closing(open_ledger(tmp_path)) as ledger:
        assert (ledger.scans()["museum"], read(ledger)) == (saved, {TODAY: GOOD})
    with closing(sqlite3.connect(tmp_path / FILE)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (VERSION,)


def test_a_damaged_day_is_logged_and_the_instance_has_no_days(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with closing(open_ledger(tmp_path / "data")) as ledger:
        ledger.save("shop-prod", None, [record(TODAY, orders=GOOD, payments=GOOD)])
        with closing(sqlite3.connect(tmp_path / "data" / FILE)) as connection, connection:
            connection.execute("UPDATE instance_day SET body = x'00' WHERE instance = (SELECT min(id) FROM instance)")
        assert [bool(read(ledger, name)) for name in ("orders", "payments")] == [False, True]
    assert "cannot read the daily record of shop-prod:orders: damaged daily record" in caplog.text
