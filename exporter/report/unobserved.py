"""Why a database was not observed on a day, as far as the state tells. Pure."""

from datetime import date
from enum import StrEnum

from exporter.report.data import ReportInstance


class Reason(StrEnum):
    """Why a database was not observed on a day, in words."""

    NOT_READ = "the exporter did not run, or did not read the project"
    NOT_RECORDED = "before the first record of the project"
    NOT_LISTED = "the project was read, but the database was not there, or not selected"
    NOT_CREATED = "before the database was created, or on that day"
    GONE = "after the database was seen last"
    NOT_OVER = "the day is not over"
    FUTURE = "the day has not begun"


GAPS = (Reason.NOT_READ, Reason.NOT_RECORDED, Reason.NOT_LISTED)  # the database may have been there


def reason(instance: ReportInstance, day: date, today: date) -> Reason:
    """Why a database was not observed on a day on which it was not."""
    created, first_seen = instance.created, instance.first_seen
    replaced = created and first_seen and first_seen < created  # it is not known when the one before was created
    original = None if replaced else created
    if day >= today:
        return Reason.FUTURE if day > today else Reason.NOT_OVER
    if instance.last_seen and day > instance.last_seen:
        return Reason.GONE
    if day == created or (original and day < original):
        return Reason.NOT_CREATED
    if day in instance.project_days:
        unseen = first_seen is None or day < first_seen
        return Reason.NOT_CREATED if unseen and not original else Reason.NOT_LISTED
    before_records = instance.project_since and day < instance.project_since
    return Reason.NOT_RECORDED if before_records else Reason.NOT_READ


def unobserved(instance: ReportInstance, today: date) -> int:
    """The number of days before today on which a database may have been there, but was not observed."""
    return sum(not day.observed and reason(instance, day.day, today) in GAPS for day in instance.days)
