"""The status page: rows, counts and links between selections."""

from dataclasses import replace
from datetime import timedelta

from exporter.facts.model import PollResult, RunStatus
from exporter.facts.snapshot import ProjectStatus
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Listing, Selection
from exporter.verdict.rules import Protection
from exporter.web.pages.days import DayCell, DayKind
from exporter.web.pages.status import (
    FilterOptions,
    StatusPage,
    filter_options,
    outdated_counts,
    status_page,
)
from tests.support.builders import DAY, HOUR, MINUTE, NOW, SETTINGS, run
from tests.web.pages.evaluations import evaluation, record, status, statuses

FLEET = evaluation(
    status(
        record("fresh", [run()], user_labels={"team": "a", "env": "prod"}),
        record("failing", [run(RunStatus.FAILED), run(ago=2 * DAY)], user_labels={"team": "b"}),
        record("empty", []),
    )
)
OLD = evaluation(status(record("fresh", [run()]), result=PollResult.TIMEOUT, read_at=NOW - 10 * MINUTE))


def page(query: str = "", found: Evaluation = FLEET, size: int = 100, cells: tuple[DayCell, ...] = ()) -> StatusPage:
    """The status page for a query string."""
    parameters = [(name, value) for name, _, value in (part.partition("=") for part in query.split("&") if part)]
    selection, listing = Selection.parse(parameters, size), Listing()
    everything = Selection(projects=selection.projects, text=selection.text, labels=selection.labels)
    outdated = outdated_counts(found, lambda: listing.select(found, everything).verdicts)
    options = FilterOptions((), {})
    return status_page(found, selection, listing.select(found, selection), outdated, options, lambda _: cells)


def names(shown: StatusPage) -> list[str]:
    return [row.verdict.instance.id.name for row in shown.rows]


def test_rows_are_those_of_the_selection() -> None:
    assert names(page()) == ["empty", "failing", "fresh"]
    assert names(page("state=protected&state=at_risk")) == ["failing", "fresh"]
    assert names(page("q=failing")) == ["failing"]


def test_a_row_says_since_when_why_what_would_be_lost_and_what_to_do() -> None:
    row = page("q=failing").rows[0]
    assert row.path == "instances/shop-prod/failing"
    assert row.badge.word == "at risk"
    assert row.reasons == (
        "a restore would lose 2d, more than max_age (1d 6h)",
        "the last automated run failed: INTERNAL_ERROR",
    )
    assert row.since == NOW - 2 * DAY + 30 * HOUR
    assert (row.loss.age, row.loss.beyond) == (2 * DAY, True)
    assert row.next_step.startswith("Create a backup now")
    assert row.change
    assert (row.change.at - NOW, row.change.state) == (
        6 * HOUR + timedelta(microseconds=1),
        Protection.UNPROTECTED,
    )
    assert (row.last_success, row.duration) == (NOW - 2 * DAY + 7 * MINUTE, 7 * MINUTE)


def test_where_facts_do_not_tell_since_when_the_recorded_days_do() -> None:
    disabled = record("disabled", [run()], backups=SETTINGS.__class__(enabled=False))
    today = NOW.date()
    cells = tuple(
        DayCell(today - number * DAY, DayKind.NO_RUN, state)
        for number, state in ((3, "unprotected"), (2, "protected"), (1, "unprotected"), (0, "unprotected"))
    )
    row = page(found=evaluation(status(disabled)), cells=cells).rows[0]
    assert (row.since, row.since_day) == (None, today - DAY)


def test_an_instance_without_a_backup_says_how_many_windows_it_missed() -> None:
    cells = [DayCell(NOW.date() - number * DAY, DayKind.NO_RUN) for number in range(4, -1, -1)]
    pending = [*cells[:-1], replace(cells[-1], kind=DayKind.PENDING)]
    for shown, windows in ((cells, "5 backup windows"), (cells[-1:], "backup window"), (pending, "backup window")):
        row = page("q=empty", cells=tuple(shown)).rows[0]
        assert row.reasons == ("there is no backup to restore", f"no automated run in the last {windows}")
        assert row.without_success[0] == "none known"  # the exporter first saw it long after its creation


def test_the_legend_has_the_kinds_of_days_that_occur() -> None:
    today = NOW.date()
    cells = (DayCell(today - DAY, DayKind.NO_RUN), DayCell(today, DayKind.SUCCESSFUL))
    assert page(cells=cells).kinds == [DayKind.SUCCESSFUL, DayKind.NO_RUN]
    assert page("q=nothing", cells=cells).kinds == []
    assert [heading.title for heading in page().columns[-1]] == ["Last 14 days", "Nov\u00a010\u00a0to\u00a0Nov\u00a023"]


def test_projects_of_which_nothing_is_known_are_counted_if_they_are_selected() -> None:
    failing = ProjectStatus("sealed", PollResult.FORBIDDEN, "grant a role")
    waiting = ProjectStatus("later")
    found = evaluation(status(record("fresh", [run()])), failing, waiting, ProjectStatus("off", PollResult.SUCCESS))
    assert page(found=found).unread_projects == 2
    assert page("project=sealed", found=found).unread_projects == 1
    assert page("project=shop-prod", found=found).unread_projects == 0


def test_the_newest_and_the_oldest_facts_have_their_time() -> None:
    found = evaluation(
        status(record("fresh", [run()]), carried_over={"lost": NOW - HOUR}),
        status(record("far", [run()], project="museum"), read_at=NOW - MINUTE),
    )
    assert page(found=found).facts_read_at == (NOW, NOW - HOUR)
    assert page(found=evaluation(ProjectStatus("later"))).facts_read_at == ()


def test_counts_link_to_their_state_and_a_selected_one_back() -> None:
    counts = {count.badge.style: count for count in page("q=a").counts}
    assert {style: count.count for style, count in counts.items()} == {
        "unprotected": 1,
        "unknown": 0,
        "at_risk": 1,
        "protected": 1,
        "exempt": 0,
    }
    assert counts["at_risk"].link == "?state=at_risk&q=a"
    selected = {count.badge.style: count for count in page("state=at_risk&q=a").counts}
    assert (selected["at_risk"].link, selected["at_risk"].selected) == ("?q=a", True)
    assert (selected["protected"].count, selected["protected"].selected) == (1, False)


def test_counts_name_those_by_facts_that_are_not_current_and_are_not_green_then() -> None:
    protected = next(count for count in page(found=OLD).counts if count.count)
    assert (protected.count, protected.outdated, protected.badge.style) == (1, 1, "stale")
    assert [row.badge.style for row in page(found=OLD).rows] == ["stale"]


def test_only_some_of_a_state_may_be_outdated() -> None:
    found = evaluation(
        status(record("fresh", [run()])),
        status(record("far", [run()], project="museum"), result=PollResult.TIMEOUT, read_at=NOW - MINUTE),
    )
    protected = next(count for count in page(found=found).counts if count.count)
    assert (protected.count, protected.outdated, protected.badge.style) == (2, 1, "protected")
    only_fresh = next(count for count in page("project=shop-prod", found=found).counts if count.count)
    assert (only_fresh.count, only_fresh.outdated) == (1, 0)
    assert set(statuses(found)) == {"shop-prod", "museum"}


def test_the_title_has_the_counts_of_states_that_need_attention() -> None:
    assert [count.badge.style for count in page().title_counts] == ["unprotected", "at_risk"]
    assert [count.badge.style for count in page("q=fresh").title_counts] == ["protected"]


def test_pages_link_to_each_other_and_keep_the_filters() -> None:
    first, second, third = (page(f"q=a&offset={offset}&limit=1") for offset in (0, 1, 2))
    assert (first.previous_link, first.next_link) == ("", "?q=a&limit=1&offset=1")
    assert (second.previous_link, second.next_link) == ("?q=a&limit=1", "?q=a&limit=1&offset=2")
    assert (third.previous_link, third.next_link) == ("?q=a&limit=1&offset=1", "")
    assert page("offset=500").first_link == "./"
    assert page("offset=50").previous_link == "./"


def test_headings_sort_and_sorting_again_reverses() -> None:
    def heading(query: str, title: str) -> tuple[str, str]:
        found = next(item for column in page(query).columns for item in column if item.title == title)
        return found.link, found.order

    assert heading("offset=1", "Project") == ("?sort=project", "")
    assert heading("sort=project", "Project") == ("?sort=-project", "ascending")
    assert heading("sort=-project", "Project") == ("?sort=project", "descending")
    assert heading("", "State") == ("?sort=-state", "ascending")
    assert heading("", "Reason") == ("", "")


def test_the_most_urgent_instance_is_the_first_of_those_that_are_not_well() -> None:
    urgent = page().most_urgent
    assert urgent
    assert urgent.verdict.instance.id.name == "empty"
    for query in ("state=protected", "sort=project", "offset=1", "q=nothing"):
        assert page(query).most_urgent is None, query


def test_sorting_and_paging_do_not_count_as_filters() -> None:
    assert not page("sort=project&offset=1&limit=5").filtered
    for query in ("state=protected", "q=a", "project=x", "label.team=a"):
        assert page(query).filtered, query


def test_filters_offer_projects_and_the_values_of_labels() -> None:
    assert filter_options(FLEET.verdicts, ["shop-prod"], ()) == FilterOptions(
        ["shop-prod"], {"team": ["a", "b"], "env": ["prod"]}
    )
    assert filter_options(FLEET.verdicts, [], ["env", "tier"]).labels == {"env": ["prod"], "tier": []}
