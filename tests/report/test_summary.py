"""What a report says in short: what was missed and why, and what was not observed."""

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from exporter.report.data import Report, ReportDay, ReportInstance
from exporter.report.summary import Entry, Gap, Period, at_most, missed_periods, percent, summary
from exporter.report.unobserved import Reason, reason, unobserved
from exporter.web.pages.days import DayKind as K
from tests.support.builders import DAY, NOW

FIRST = date(2026, 11, 1)


def good(**fields: object) -> ReportDay:
    return replace(ReportDay(FIRST, "protected", 1.0, 1, "successful", 90_000, True, K.SUCCESSFUL), **fields)  # type: ignore[arg-type] # any field


def missed(kind: K = K.FAILED, **fields: object) -> ReportDay:
    return good(**{"state": "at_risk", "within_policy": False, "kind": kind, "worst_age_seconds": 120_000, **fields})


def instance(*days: ReportDay, name: str = "orders", **fields: object) -> ReportInstance:
    """An instance with these consecutive days."""
    numbered = [replace(day, day=FIRST + number * DAY) for number, day in enumerate(days)]
    first_seen = next((day.day for day in numbered if day.observed), None)
    return replace(ReportInstance("shop", name, numbered, first_seen=first_seen), **fields)  # type: ignore[arg-type] # dates


def report_on(*instances: ReportInstance, now: datetime = NOW) -> Report:
    return Report(FIRST, FIRST + (len(instances[0].days) - 1) * DAY, now, "1", instances)


NOT_OBSERVED = ReportDay(FIRST)
LOSS = "a restore would have lost up to 1d 10h of changes"  # 33 h 20 min


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([good(), missed(), good()], [("2026-11-02", f"The backup failed on Nov 2; {LOSS}.")]),
        (
            [good(), missed(), missed(K.SUCCESSFUL), good()],
            [("2026-11-02 to 2026-11-03", f"The backup failed on Nov 2; the backup of Nov 3 succeeded; {LOSS}.")],
        ),
        (
            [good(kind=K.NO_RUN), missed(K.SUCCESSFUL), good()],
            [("2026-11-02", f"No backup ran on Nov 1; the backup of Nov 2 succeeded; {LOSS}.")],
        ),
        (
            [missed(K.SUCCESSFUL), good(), missed(K.OVERDUE)],
            [
                ("2026-11-01", f"The backup of Nov 1 succeeded, later than the policy allows; {LOSS}."),
                ("2026-11-03", f"The backup did not run in its window on Nov 3; {LOSS}."),
            ],
        ),
        (
            [NOT_OBSERVED, NOT_OBSERVED, missed(K.SUCCESSFUL)],
            [("2026-11-03", f"Nothing was observed on Nov 1 to Nov 2; the backup of Nov 3 succeeded; {LOSS}.")],
        ),
        (
            [missed(K.SUCCESSFUL, state="unknown"), missed(state="unknown")],
            [("2026-11-01 to 2026-11-02", "The exporter could not read the backups.")],
        ),
        (
            [missed(K.SUCCESSFUL, state="unknown"), missed(K.FAILED)],
            [
                (
                    "2026-11-01 to 2026-11-02",
                    f"The exporter could not read the backups on Nov 1; the backup failed on Nov 2; {LOSS}.",
                )
            ],
        ),
        (
            [missed(K.NO_RUN, worst_age_seconds=None), missed(K.NO_RUN, worst_age_seconds=None)],
            [("2026-11-01 to 2026-11-02", "No backup ran on Nov 1 to Nov 2; nothing could be restored.")],
        ),
        (
            [missed(K.NO_RUN, state="unprotected", due=0), missed(K.NO_RUN, state="unprotected")],
            [
                (
                    "2026-11-01 to 2026-11-02",
                    f"No backup ran, and none was due on Nov 1; no backup ran on Nov 2; {LOSS}.",
                )
            ],
        ),
        ([good(), NOT_OBSERVED], []),
    ],
)
def test_missed_days_have_their_reasons(days: list[ReportDay], expected: list[tuple[str, str]]) -> None:
    assert [(period.days, period.text) for period in missed_periods(instance(*days))] == expected


def test_databases_are_counted_by_what_happened_to_them() -> None:
    exempt = good(state="exempt", within_policy=None, kind=K.EXEMPT, outcome="none")
    instances = [
        instance(good(), missed()),
        instance(good(), good(), name="fine"),
        instance(exempt, exempt, name="replica"),
        instance(NOT_OBSERVED, NOT_OBSERVED, name="dark"),
        instance(good(state="unprotected"), good(), name="keyless"),
        instance(good(), NOT_OBSERVED, name="old", last_seen=FIRST),
    ]
    result = summary(report_on(*instances))
    assert (result.judged, result.met) == (4, 3)
    assert [entry.instance.instance_id for entry in result.missed] == ["orders"]
    assert [found.instance_id for found in (*result.exempt, *result.not_observed, *result.gone)] == [
        *("replica", "dark", "old"),
    ]
    assert result.exempt_days == [Entry(instances[2], [Period("every observed day", 2)])]
    assert result.unprotected == [Entry(instances[4], [Period("2026-11-01", 1)])]


def test_unobserved_days_are_listed_with_their_databases() -> None:
    first = instance(good(), NOT_OBSERVED, NOT_OBSERVED, good(), NOT_OBSERVED)
    second = instance(good(), NOT_OBSERVED, NOT_OBSERVED, good(), good(), name="users")
    assert summary(report_on(first, second)).gaps == [
        Gap(Period("2026-11-02 to 2026-11-03", 2, Reason.NOT_READ), True, {"shop": ["orders", "users"]}),
        Gap(Period("2026-11-05", 1, Reason.NOT_READ), False, {"shop": ["orders"]}),
    ]


def test_reasons_for_which_a_day_was_not_observed() -> None:
    """A database that was deleted on Nov 5, and created again on Nov 9; the exporter did not run on Nov 6 and 11."""
    days = [NOT_OBSERVED, NOT_OBSERVED, good(), good(), good(), *[NOT_OBSERVED] * 6, good(), *[NOT_OBSERVED] * 3]
    read = frozenset(FIRST + number * DAY for number in (2, 3, 4, 6, 7, 8, 9, 11))
    again = instance(*days, created=FIRST + 8 * DAY, project_since=FIRST + DAY, project_days=read)
    today = FIRST + 13 * DAY
    reasons = {day.day.day: reason(again, day.day, today) for day in again.days if not day.observed}
    assert reasons == {
        1: Reason.NOT_RECORDED,
        2: Reason.NOT_READ,
        6: Reason.NOT_READ,
        7: Reason.NOT_LISTED,
        8: Reason.NOT_LISTED,
        9: Reason.NOT_CREATED,
        10: Reason.NOT_LISTED,
        11: Reason.NOT_READ,
        13: Reason.NOT_READ,
        14: Reason.NOT_OVER,
        15: Reason.FUTURE,
    }
    assert unobserved(again, today) == 8
    gone = instance(*days, last_seen=FIRST + 11 * DAY, project_days=read | {FIRST, FIRST + DAY})
    assert [reason(gone, FIRST + number * DAY, today) for number in (0, 6, 12)] == [
        *(Reason.NOT_CREATED, Reason.NOT_LISTED, Reason.GONE),
    ]


def test_today_and_days_of_creation_and_deletion_are_no_gaps() -> None:
    part, now = good(observed_share=0.5), datetime(2026, 11, 4, 12, tzinfo=UTC)
    new = instance(NOT_OBSERVED, part, good(), part, created=FIRST + DAY)
    old = instance(good(), part, NOT_OBSERVED, NOT_OBSERVED, name="old", last_seen=FIRST + DAY)
    last = instance(good(), good(), part, NOT_OBSERVED, name="last")
    result = summary(report_on(new, old, last, now=now))
    assert (result.gaps, result.partial) == ([], [Gap(Period("2026-11-03", 1, "50.0 %"), False, {"shop": ["last"]})])


def test_days_before_the_creation_and_after_the_end_of_a_database_are_no_gaps() -> None:
    new = instance(NOT_OBSERVED, NOT_OBSERVED, good(), good(), created=FIRST)
    old = instance(good(), NOT_OBSERVED, NOT_OBSERVED, NOT_OBSERVED, name="old", last_seen=FIRST)
    unknown = instance(NOT_OBSERVED, good(), good(), good(), name="unknown")
    assert [unobserved(found, NOW.date()) for found in (new, old, unknown)] == [1, 0, 1]
    assert summary(report_on(new, old, unknown)).gaps == [
        Gap(Period("2026-11-01", 1, Reason.NOT_READ), False, {"shop": ["unknown"]}),
        Gap(Period("2026-11-02", 1, Reason.NOT_READ), False, {"shop": ["orders"]}),
    ]
    again = instance(good(), NOT_OBSERVED, good(), good(), created=FIRST + 2 * DAY)  # a name that is used again
    assert unobserved(again, NOW.date()) == 1


def test_many_days_before_the_first_observation_take_time_in_proportion() -> None:
    """`first_seen` is not searched for on each day: 30,000 days would take minutes."""
    dark = ReportInstance("shop", "orders", [ReportDay(date(1944, 1, 1) + number * DAY) for number in range(30_000)])
    assert unobserved(dark, NOW.date()) == 30_000
    assert len(summary(Report(dark.days[0].day, dark.days[-1].day, NOW, "1", [dark])).gaps) == 1


def test_days_observed_in_part_have_their_share() -> None:
    result = summary(report_on(instance(good(observed_share=0.4585), good(observed_share=0.99), good())))
    assert result.partial == [Gap(Period("2026-11-01", 1, "45.8 %"), True, {"shop": ["orders"]})]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (348_476, "4d 1h"),
        (345_600, "4d"),
        (86_399, "1d"),
        (86_401, "1d 1h"),
        (3_601, "1h 1m"),
        (3_600, "1h"),
        (59, "59s"),
    ],
)
def test_durations_are_not_rounded_down(seconds: int, text: str) -> None:
    assert at_most(seconds) == text


@pytest.mark.parametrize(("share", "text"), [(1.0, "100.0 %"), (0.9999, "99.9 %"), (0.997, "99.7 %"), (0, "0.0 %")])
def test_shares_are_not_rounded_up(share: float, text: str) -> None:
    assert percent(share) == text
