"""The page of an instance."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from exporter.config import Policy
from exporter.facts.counters import Counters, Durations
from exporter.facts.daily import InstanceDay, ProjectDay, start_of
from exporter.facts.model import BackupRun, BackupSettings, BackupType, InstanceType, PollResult, RunStatus
from exporter.verdict.rules import Finding, Protection
from exporter.web.pages.days import RecordedDays
from exporter.web.pages.instance import InstancePage, configuration, counts, instance_page, policy_text
from exporter.web.pages.links import Sites
from tests.support.builders import DAY, HOUR, INSTANCE, MINUTE, NOW, config, run
from tests.web.pages.evaluations import PROJECT, evaluation, only, record, status

TODAY = NOW.date()


def page(runs: Sequence[BackupRun], recorded: RecordedDays = (), **fields: Any) -> InstancePage:
    """The page of an instance with these runs."""
    found = record("orders", runs, **fields)
    evaluated = evaluation(status(found))
    return instance_page(evaluated, only(evaluated), found, recorded, Sites("https://grafana.example"))


def day(ago: int, state: str = "protected") -> tuple[ProjectDay, InstanceDay]:
    date = TODAY - ago * DAY
    return ProjectDay(date, 86400, start_of(date) + DAY), InstanceDay(state)


def test_each_finding_has_its_rule_in_words_a_step_and_a_runbook() -> None:
    first, second, third = page([run(RunStatus.FAILED), run(ago=3 * DAY)]).findings
    assert (first.finding, first.state) == (Finding.STALE_CRITICAL, Protection.UNPROTECTED)
    assert first.reason == "a restore would lose 3d, more than critical_age (2d 6h)"
    assert (second.finding, third.finding) == (Finding.STALE, Finding.LAST_RUN_FAILED)
    assert third.runbook.endswith("/CloudSQLBackupLastRunFailed.md")


def test_an_exemption_is_explained() -> None:
    shown = page([], type=InstanceType.READ_REPLICA_INSTANCE)
    assert (shown.exemption, shown.findings) == ("a read replica: its primary is backed up", [])


def test_the_page_says_if_its_facts_are_not_current() -> None:
    found = record("orders", [run()])
    old = evaluation(status(found, result=PollResult.TIMEOUT, read_at=NOW - 10 * MINUTE))
    shown = instance_page(old, only(old), found, (), Sites())
    assert (shown.current, shown.facts_read_at, shown.row.badge.style) == (False, NOW - 10 * MINUTE, "stale")
    assert (shown.dashboard, shown.silence) == ("", "")


def test_every_run_is_listed_newest_first_also_those_that_are_deleted() -> None:
    runs = [run(), run(RunStatus.DELETED, DAY), run(RunStatus.FAILED, 2 * DAY), run(RunStatus.SKIPPED, 3 * DAY)]
    assert [shown.status for shown in page(runs).runs] == [shown.status for shown in runs]


def test_charts_leave_out_deleted_runs() -> None:
    charts = {chart.name: len(chart.points) for chart in page([run(), run(RunStatus.DELETED, DAY)]).charts}
    assert charts == {"duration": 1, "size": 1, "start": 1}
    assert page([]).charts == []


def test_the_calendar_begins_with_what_is_known_up_to_a_year_ago() -> None:
    assert len(page([]).calendar.cells) == 56
    assert len(page([run(ago=100 * DAY)]).calendar.cells) == 101
    assert len(page([run()], [day(200)]).calendar.cells) == 201
    assert len(page([run(ago=500 * DAY)]).calendar.cells) == 365


def test_the_table_of_days_leaves_out_those_of_which_nothing_is_known() -> None:
    days = page([run(), run(ago=10 * DAY)], [day(3, "exempt"), day(0)]).days
    assert [(TODAY - shown.day).days for shown in days] == [0, 3, 10]


def test_the_policy_is_named_by_its_position_in_the_configuration() -> None:
    settings = config(
        projects=(PROJECT,),
        policies=[
            {"match": {"project": "x"}},
            {"match": {"instance": "ord.*", "labels": {"env": "prod"}}, "max_age": "26h"},
        ],
    )
    text = policy_text(settings.policies[1], settings.policies)
    assert text.title == "Policy 2 of 2, which matches project: .*, instance: ord.*, label env: prod"
    assert ("max_age", "1d 2h") in text.requirements
    assert policy_text(Policy(), settings.policies).title == "The default policy: no other matches"
    requirements = dict(text.requirements)
    assert set(requirements) == set(Policy.model_fields) - {"match"}


def test_the_configuration_leaves_out_what_the_api_does_not_tell() -> None:
    bare = replace(INSTANCE, backups=BackupSettings(), created=None)
    assert configuration(bare) == [
        ("Type", "cloud sql instance"),
        ("State", "runnable"),
        ("Activation policy", "always"),
    ]
    full = dict(configuration(replace(INSTANCE, user_labels={"team": "a", "env": "prod"}, disk_full=True)))
    assert full["Backup window"] == "04:00 to 08:00 UTC"
    assert (full["Automated backups"], full["Point-in-time recovery"]) == ("on", "off")
    assert (full["State"], full["User labels"]) == ("runnable, disk full", "env=prod, team=a")


def test_a_window_over_midnight_ends_on_the_next_day() -> None:
    late = replace(INSTANCE, backups=BackupSettings(window_start=22 * HOUR))
    assert dict(configuration(late))["Backup window"] == "22:00 to 02:00 UTC"


def test_counters_are_those_of_the_exposition() -> None:
    automated = BackupType.AUTOMATED
    counters = Counters(
        NOW,
        completed={automated: {RunStatus.FAILED: 2, RunStatus.SUCCESSFUL: 3}},
        errors={automated: {"INTERNAL_ERROR": 2}},
        durations={automated: Durations(3, 720.0)},
    )
    assert [(count.what, count.value) for count in counts(counters)] == [
        ("failed runs", "2"),
        ("successful runs", "3"),
        ("failed runs with the error INTERNAL_ERROR", "2"),
        ("mean duration of successful runs", "4m"),
    ]
