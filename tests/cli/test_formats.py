"""The formats of `status`, with names and texts that are hostile to terminals, spreadsheets and Markdown."""

import csv
import html
import io
import json
import re
from dataclasses import replace

import msgspec
import pytest
from markdown_it import MarkdownIt

from exporter.cli.formats import COLUMNS, FORMATS
from exporter.cli.problems import grants, problems
from exporter.facts.model import PollResult
from exporter.facts.snapshot import ProjectStatus, SearchStatus
from exporter.simulator import WORLDS
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.timeline import failing
from exporter.simulator.worlds import Project
from exporter.verdict import summary
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Listing, Selection
from exporter.verdict.rules import WORST_FIRST, Protection
from exporter.web.api.content import status_document
from exporter.web.api.documents import StatusDocument
from tests.support.builders import world
from tests.support.expositions import evaluate_world

ALL = WORST_FIRST
HOSTILE = (
    "a|b",
    "=cmd|' /C calc'!A1",
    "+1",
    "-2+3",
    "@SUM(A1)",
    " =1",
    "\x1b[31mred\x1b[0m",
    "right\u202eleft",
    "two\r\nlines",
    "*bold* _it_ `code` ~~gone~~",
    "<img src=x onerror=alert(1)>",
    "[text](http://example.test)",
    "www.example.test",
    "back\\slash\\|",
    "comma, \"quote\" and 'quote'",
    "snake_case",
    "&lt;",
    "nul\0",
)
UNSAFE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def evaluation_of(*names: str, scenario: str = "healthy") -> Evaluation:
    return evaluate_world(world({"museum": Project(dict.fromkeys(names, SCENARIOS[scenario]))}))


def without_controls(name: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in name)


@pytest.fixture(scope="module")
def hostile() -> Evaluation:
    """Instances with hostile names, one of which failed with a hostile error code, and a failed project and search."""
    code = "=1|\x1b[2J\u202e<b>"
    failed = replace(SCENARIOS["failing"], windows=lambda _window: failing(code))
    instances = dict.fromkeys(HOSTILE, SCENARIOS["healthy"]) | {"failed": failed}
    evaluation = evaluate_world(world({"museum": Project(instances)}))
    status = replace(
        ProjectStatus("p\x1b[2J"),
        result=PollResult.FORBIDDEN,
        message="no",
        missing_permission="cloudsql.instances.list",
    )
    search = SearchStatus(up=False, message="no", missing_permission="resourcemanager.projects.get")
    return replace(evaluation, projects=(*evaluation.projects, status), searches=(("q\u202e", search),))


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_no_format_has_control_characters(hostile: Evaluation, name: str) -> None:
    output = FORMATS[name](hostile, ALL)
    assert "failed" in output
    assert not UNSAFE.search(output.replace("\r\n", "\n") if name == "csv" else output)


def test_csv_is_rfc_4180_with_crlf_and_one_record_per_instance(hostile: Evaluation) -> None:
    output = FORMATS["csv"](hostile, ALL)
    assert output.endswith("\r\n")
    assert "\n" not in output.replace("\r\n", "")
    header, *records = csv.reader(io.StringIO(output, newline=""), strict=True)
    assert tuple(header) == COLUMNS
    assert {len(record) for record in records} == {len(COLUMNS)}
    assert len(records) == len(HOSTILE) + 1
    for record in records:
        for cell in record:
            assert not cell.lstrip().startswith(("=", "+", "-", "@")), cell


def test_csv_keeps_every_name_apart_from_controls_and_formulas(hostile: Evaluation) -> None:
    records = list(csv.DictReader(io.StringIO(FORMATS["csv"](hostile, ALL), newline=""), strict=True))
    formulas = {"=cmd|' /C calc'!A1", "+1", "-2+3", "@SUM(A1)", " =1"}
    expected = {f"'{name}" if name in formulas else without_controls(name) for name in (*HOSTILE, "failed")}
    assert {record["instance_id"] for record in records} == expected


def test_csv_numbers_are_numbers() -> None:
    evaluation = evaluation_of("healthy")
    early = replace(evaluation, now=evaluation.verdicts[0].history.recovery_point or evaluation.now)
    early = replace(early, now=early.now.replace(year=early.now.year - 1))
    (record,) = csv.DictReader(io.StringIO(FORMATS["csv"](early, ALL)))
    assert int(record["recovery_point_age_seconds"]) < 0


def test_markdown_table_shows_every_cell_as_it_is(hostile: Evaluation) -> None:
    """By a renderer of tables, HTML, links and strikethrough."""
    renderer = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    page = renderer.render(FORMATS["markdown"](hostile, ALL))
    header = re.findall(r"<th>(.*?)</th>", page)
    rows = [re.findall(r"<td>(.*?)</td>", row, re.DOTALL) for row in re.findall(r"<tr>(.*?)</tr>", page, re.DOTALL)[1:]]
    assert tuple(header) == COLUMNS
    shown = [html.unescape(row[COLUMNS.index("instance_id")]) for row in rows]
    names = [without_controls(row.instance).strip() for row in summary.rows(hostile)]
    assert shown == names
    assert set(re.findall(r"<(\w+)", page)) == {"table", "thead", "tbody", "tr", "th", "td"}


def test_markdown_leaves_states_and_names_readable() -> None:
    lines = FORMATS["markdown"](evaluation_of("orders-2", scenario="missed"), ALL).splitlines()
    assert lines[0] == f"| {' | '.join(COLUMNS)} |"
    assert lines[2].startswith(
        "| at_risk | museum | orders-2 | overdue |  | no automated run in the last backup window |"
    )


def test_links_without_markup_are_not_links(hostile: Evaluation) -> None:
    text = FORMATS["markdown"](hostile, ALL)
    assert "www.example" not in text
    assert "http://" not in text


def test_table_has_a_line_for_each_instance_and_cuts_nothing_off() -> None:
    names = ("x" * 300, "y" * 98, "short")
    lines = FORMATS["table"](evaluation_of(*names), ALL).splitlines()
    assert [line.split()[2] for line in lines[1:4]] == sorted(names)
    assert lines[0].split() == ["VERDICT", "PROJECT", "INSTANCE", "RECOVERY", "POINT", "LAST", "RUN", "REASON"]
    assert lines[4:] == ["3 protected"]


def test_table_is_followed_by_missing_permissions_and_their_commands(hostile: Evaluation) -> None:
    lines = FORMATS["table"](hostile, ALL).splitlines()
    start = lines.index("Missing permissions:")
    assert lines[start + 1 : start + 5] == [
        "  p?[2J: cloudsql.instances.list",
        "    gcloud projects add-iam-policy-binding 'p?[2J' --member=MEMBER --role=roles/cloudsql.viewer"
        " --condition=None",
        "  q?: resourcemanager.projects.get",
        "    gcloud organizations add-iam-policy-binding ORGANIZATION_ID --member=MEMBER --role=roles/browser"
        " --condition=None",
    ]
    assert lines[start + 5].startswith("  (MEMBER is the account of the exporter")


def test_table_is_followed_by_the_deleted_instances_whose_last_backup_expires_soon() -> None:
    evaluation = evaluate_world(world({"shop-prod": WORLDS["demo"]()["shop-prod"]}))
    lines = FORMATS["table"](evaluation, ALL).splitlines()
    start = lines.index("Last backups of deleted instances that expire soon:")
    assert lines[start + 1 : -2] == ["  shop-prod:vouchers, deleted 2026-10-27T03:00:00Z: 2026-11-26T03:00:00Z"]


def test_missing_permission_is_granted_to_the_account_that_a_target_impersonates(hostile: Evaluation) -> None:
    project = ProjectStatus("shop", PollResult.FORBIDDEN, "no", "cloudsql.instances.list", account="reader@x")
    folder = SearchStatus(
        up=False, message="no", missing_permission="cloudasset.assets.searchAllResources", account="b@x"
    )
    evaluation = replace(hostile, projects=(project,), searches=(("folders/12", folder),))
    assert grants(evaluation)[1:] == [
        "  shop: cloudsql.instances.list",
        "    gcloud projects add-iam-policy-binding shop --member=serviceAccount:reader@x --role=roles/cloudsql.viewer"
        " --condition=None",
        "  folders/12: cloudasset.assets.searchAllResources",
        "    gcloud resource-manager folders add-iam-policy-binding 12 --member=serviceAccount:b@x"
        " --role=roles/cloudasset.viewer --condition=None",
    ]


def test_project_that_was_found_without_the_api_is_no_problem(hostile: Evaluation) -> None:
    found = ProjectStatus("shop", PollResult.API_DISABLED, "403; enable it", found=True)
    evaluation = replace(hostile, projects=(found, replace(found, project="named", found=False)), searches=())
    assert problems(evaluation) == ["403; enable it"]


def test_json_has_the_requested_states_and_all_totals() -> None:
    names = {name: SCENARIOS[name] for name in ("healthy", "failing", "missed", "replica")}
    evaluation = evaluate_world(world({"museum": Project(names)}))
    document = json.loads(FORMATS["json"](evaluation, (Protection.AT_RISK, Protection.EXEMPT)))
    assert [instance["instance_id"] for instance in document["instances"]] == ["missed", "replica"]
    assert document["totals"] == {"unprotected": 1, "unknown": 0, "at_risk": 1, "protected": 1, "exempt": 1}


@pytest.mark.parametrize("name", sorted(FORMATS))
def test_states_without_instances_are_an_empty_document(name: str) -> None:
    lines = FORMATS[name](evaluation_of("healthy"), (Protection.UNKNOWN,)).splitlines()
    if name == "json":
        assert json.loads("".join(lines))["instances"] == []
    elif name == "table":
        assert lines[1:] == ["1 protected"]
    else:
        assert len(lines) == {"csv": 1, "markdown": 2}[name]


def test_json_is_the_document_of_the_api(hostile: Evaluation) -> None:
    document = msgspec.json.decode(FORMATS["json"](hostile, ALL), type=StatusDocument)
    assert document == status_document(hostile, Listing().select(hostile, Selection()))
    assert [instance.instance_id for instance in document.instances] == [row.instance for row in summary.rows(hostile)]
