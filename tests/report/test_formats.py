"""CSV, JSON and HTML: the same numbers, whatever names they contain."""

import csv
import hashlib
import io
import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from exporter.report.data import Report
from exporter.report.formats import csv_text, digest, json_text
from exporter.report.html import html_text
from exporter.report.summary import percent
from exporter.report.unobserved import Reason
from exporter.web.pages.days import DayKind
from tests.report.test_summary import NOT_OBSERVED, good, instance, missed, report_on
from tests.support.builders import NOW
from tests.support.hostile import HOSTILE_NAMES
from tests.support.html import html_problems

EXEMPT = good(state="exempt", within_policy=None, kind=DayKind.EXEMPT, outcome="none", due=0, worst_age_seconds=None)
REPORT = report_on(
    instance(good(observed_share=0.5), NOT_OBSERVED, missed(outcome="failed"), missed(DayKind.SUCCESSFUL)),
    instance(EXEMPT, EXEMPT, good(), NOT_OBSERVED, name="users"),
)


class Table(HTMLParser):
    """The texts of the cells of each table."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.urls: list[str] = []
        self.tags: set[str] = set()
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.urls += [value or "" for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")
            self._in_cell = True

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.tables[-1][-1][-1] += data


def test_csv_has_a_row_for_each_instance_and_day() -> None:
    assert csv_text(REPORT) == "\r\n".join(
        [
            "project,instance_id,day,state,observed_share,due,outcome,worst_age_seconds,within_policy",
            "shop,orders,2026-11-01,protected,0.500,1,successful,90000,true",
            "shop,orders,2026-11-02,not observed,,,,,",
            "shop,orders,2026-11-03,at_risk,1.000,1,failed,120000,false",
            "shop,orders,2026-11-04,at_risk,1.000,1,successful,120000,false",
            "shop,users,2026-11-01,exempt,1.000,0,none,,",
            "shop,users,2026-11-02,exempt,1.000,0,none,,",
            "shop,users,2026-11-03,protected,1.000,1,successful,90000,true",
            "shop,users,2026-11-04,not observed,,,,,",
            "",
        ]
    )


def test_json_has_the_rows_of_the_csv_and_totals() -> None:
    document = json.loads(json_text(REPORT))
    rows = [
        {"project": found["project"], "instance_id": found["instance_id"], **day}
        for found in document["instances"]
        for day in found["days"]
    ]
    texts = [
        {
            name: f"{value:.3f}" if name == "observed_share" and value is not None else as_text(value)
            for name, value in row.items()
        }
        for row in rows
    ]
    assert texts == list(csv.DictReader(io.StringIO(csv_text(REPORT))))
    assert [(found["days_observed"], found["days_within_policy"]) for found in document["instances"]] == [
        (3, 1),
        (1, 1),
    ]
    assert document["projects"] == [{"project": "shop", "days_observed": 4, "days_within_policy": 2}]
    assert document["fleet"] == {"days_observed": 4, "days_within_policy": 2}
    assert {name: document[name] for name in ("from", "to", "generated_at", "version")} == {
        "from": "2026-11-01",
        "to": "2026-11-04",
        "generated_at": "2026-11-23T12:00:00Z",
        "version": "1",
    }
    assert document["digest"] == digest(REPORT)


def as_text(value: object) -> str:
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_digest_is_the_checksum_of_the_csv_and_changes_with_the_data() -> None:
    assert digest(REPORT) == f"sha256:{hashlib.sha256(csv_text(REPORT).encode()).hexdigest()}"
    assert digest(replace(REPORT, version="2")) == digest(REPORT)
    assert digest(replace(REPORT, instances=REPORT.instances[:1])) != digest(REPORT)


def html_rows(report: Report) -> list[list[str]]:
    """The rows of all days in HTML, in the words of the CSV."""
    parsed = Table(html_text(report))
    tables = [table[1:] for table in parsed.tables if table[0][:2] == ["Day", "Worst state"]]
    rows = []
    for found, table in zip(report.instances, tables, strict=True):
        for day, state, share, due, outcome, age, within in table:
            hours, minutes, seconds = age.split(":") if age else ("", "", "")
            rows.append(
                [
                    *(found.project, found.instance_id, day),
                    re.sub(r"^\S+ ", "", " ".join(state.split())).replace("at risk", "at_risk"),
                    f"{float(share.removesuffix(' %')) / 100:.3f}" if share else "",
                    *(due, outcome),
                    str(int(hours) * 3600 + int(minutes) * 60 + int(seconds)) if age else "",
                    {"yes": "true", "no": "false", "": ""}[within],
                ]
            )
    return rows


def test_html_has_the_numbers_of_the_csv_and_totals() -> None:
    assert html_rows(REPORT) == list(csv.reader(io.StringIO(csv_text(REPORT))))[1:]
    parsed = Table(html_text(REPORT))
    assert ["shop", "4", "2", "2", percent(0.5)] in [row for table in parsed.tables for row in table]
    assert digest(REPORT) in html_text(REPORT)


def test_html_tells_what_was_missed_when_and_why_and_what_was_not_observed() -> None:
    text = " ".join(html_text(REPORT).split())
    assert "1 of 2 databases missed their backup objective</b> on at least one day: on 2 of 4 database days." in text
    rows = [[" ".join(cell.split()) for cell in row] for table in Table(html_text(REPORT)).tables for row in table]
    reason = (
        "The backup failed on Nov 3; the backup of Nov 4 succeeded; a restore would have lost up to 1d 10h of changes."
    )
    assert ["shop / orders", "2 of 3", "2026-11-03 to 2026-11-04 2 days", reason] in rows
    assert ["2026-11-02", "1", "shop: orders", Reason.NOT_READ] in rows
    assert ["2026-11-04", "1", "shop: users", Reason.NOT_READ] in rows
    assert ["2026-11-01", "50.0 %", "shop: orders"] in rows
    assert ["shop / users", "2", "2026-11-01 to 2026-11-02"] in rows  # exempt


def test_html_tells_that_the_last_day_is_not_over_and_later_ones_have_not_begun() -> None:
    html = html_text(replace(REPORT, generated_at=datetime(2026, 11, 3, 12, tzinfo=UTC)))
    assert "days are in UTC; 2026-11-03 is not over; later days have not begun</dd>" in html
    rows = [[" ".join(cell.split()) for cell in row] for table in Table(html).tables for row in table]
    assert ["2026-11-04", "◌ not yet", "", "", "", "", ""] in rows
    assert not [row for row in rows if row[0] == "2026-11-04" and "users" in " ".join(row)]
    complete = html_text(replace(REPORT, instances=[instance(good(), good(), good(), NOT_OBSERVED)], generated_at=NOW))
    assert "2026-11-04" in complete.split('id="gaps"')[1].split("</section>")[0]
    assert "is not over" not in complete.split("</header>")[0]


def test_calendar_draws_each_day_and_frames_the_missed_ones() -> None:
    first = html_text(REPORT).split('<svg class="calendar"')[1].partition("</svg>")[0]
    drawn = {kind: path.count("M") for kind, path in re.findall(r'class="((?:cell )?\w+)" d="([^"]+)"', first)}
    assert drawn == {"cell successful": 2, "cell failed": 1, "cell not_observed": 1, "frame": 2}


def test_html_contains_everything_and_runs_nothing() -> None:
    parsed = Table(html_text(REPORT))
    assert parsed.tags.isdisjoint({"script", "link", "img", "iframe", "object"})
    assert all(url.startswith("#") for url in parsed.urls)
    assert "@import" not in html_text(REPORT)
    assert "url(" not in html_text(REPORT)


def test_report_is_valid_html(tmp_path: Path) -> None:
    empty = replace(REPORT, instances=[], unread=["sealed"])
    for number, report in enumerate((REPORT, empty, report_on(instance(good())))):
        (tmp_path / f"{number}.html").write_text(html_text(report), encoding="utf-8")
    assert html_problems(tmp_path) == []


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_from_outside_are_escaped(name: str) -> None:
    report = report_on(instance(missed(), NOT_OBSERVED, name=name))
    parsed = Table(html_text(report))
    assert parsed.tags == Table(html_text(report_on(instance(missed(), NOT_OBSERVED)))).tags
    assert any(name in cell for table in parsed.tables for row in table for cell in row)
    assert [row["instance_id"] for row in csv.DictReader(io.StringIO(csv_text(report), newline=""))] == [name, name]


def test_report_without_instances_is_complete() -> None:
    empty = replace(REPORT, instances=[])
    assert csv_text(empty).count("\r\n") == 1
    assert json.loads(json_text(empty))["fleet"] == {"days_observed": 0, "days_within_policy": 0}
    assert "No database is known for this period." in html_text(empty)
