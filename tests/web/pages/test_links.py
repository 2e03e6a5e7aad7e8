"""Commands and links with names that contain anything."""

import shlex
from dataclasses import replace
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from exporter.config import Policy
from exporter.facts.backup_plans import InstancePlan, PlanAssociation, PlanRule
from exporter.facts.model import BackupRun, InstanceId, InstanceType, RunStatus, SuspensionReason
from exporter.verdict.rules import Finding, Protection
from exporter.web.pages.links import (
    TRIGGER_BACKUP,
    Sites,
    commands,
    dashboard,
    instance_path,
    new_silence,
    next_command,
    runbook,
    site_url,
)
from tests.support.builders import DAY, INSTANCE, SETTINGS, run, verdict_on

HOSTILE = InstanceId("p'; rm -rf /", '"> $(reboot) `id` \\ & %2f\u202e')
SITES = Sites("https://grafana.example/g", "https://am.example")


def test_the_path_of_an_instance_has_two_segments_after_the_first() -> None:
    assert instance_path(INSTANCE.id) == "instances/shop-prod/orders"
    segments = instance_path(InstanceId("example.com:shop", "a/b %2f?#é")).split("/")
    assert [unquote(segment) for segment in segments] == ["instances", "example.com:shop", "a/b %2f?#é"]


def test_links_are_empty_without_a_site() -> None:
    assert (dashboard(INSTANCE.id, Sites()), new_silence(INSTANCE.id, Sites())) == ("", "")


def test_links_to_sites_contain_the_names_and_nothing_else_of_them() -> None:
    url = urlsplit(dashboard(HOSTILE, SITES))
    assert (url.netloc, url.path) == ("grafana.example", "/g/d/cloudsql-backup-instance")
    assert parse_qs(url.query) == {"var-project": [HOSTILE.project], "var-instance": [HOSTILE.name]}
    base, _, matchers = new_silence(HOSTILE, SITES).partition("?filter=")
    assert base == "https://am.example/#/silences/new"
    assert unquote(matchers) == ('{project="p\'; rm -rf /", instance_id="\\"> $(reboot) `id` \\\\ & %2f\u202e"}')
    assert set(matchers) & set("&#\"'<> ") == set()


def test_the_runbook_of_an_alert_is_a_page_of_the_documentation() -> None:
    assert runbook("CloudSQLBackupStale").endswith("/docs/runbooks/CloudSQLBackupStale.md")


def test_commands_name_the_instance_and_the_newest_backup() -> None:
    newest = run()
    assert [command.command for command in commands(verdict_on(newest, run(ago=2 * DAY)))] == [
        "gcloud sql instances describe orders --project=shop-prod",
        "gcloud sql backups list --instance=orders --project=shop-prod",
        "gcloud sql operations list --instance=orders --project=shop-prod",
        "gcloud sql backups create --instance=orders --project=shop-prod",
        f"gcloud sql backups restore {newest.id} --restore-instance=orders-restored --backup-instance=orders"
        " --project=shop-prod",
        "gcloud sql instances clone orders orders-clone --project=shop-prod",
    ]


def test_with_point_in_time_recovery_a_clone_is_made_of_a_time() -> None:
    instance = replace(INSTANCE, backups=replace(SETTINGS, pitr_enabled=True))
    assert commands(verdict_on(run(), instance=instance))[-1].command == (
        "gcloud sql instances clone orders orders-clone --project=shop-prod --point-in-time=2026-11-23T04:00:00Z"
    )


def test_without_a_backup_nothing_can_be_restored() -> None:
    assert not any("restore" in command.command for command in commands(verdict_on()))


def test_a_replica_has_no_commands_to_back_up_or_restore() -> None:
    replica = replace(INSTANCE, type=InstanceType.READ_REPLICA_INSTANCE)
    purposes = [command.purpose for command in commands(verdict_on(instance=replica))]
    assert purposes == ["Show the instance", "List its backups", "List its operations"]


def test_while_the_key_is_revoked_nothing_can_be_backed_up_or_restored() -> None:
    revoked = replace(INSTANCE, suspension_reasons=(SuspensionReason.KMS_KEY_ISSUE,))
    found = commands(verdict_on(run(), instance=revoked))
    assert [command.purpose for command in found] == ["Show the instance", "List its backups", "List its operations"]


def test_while_the_key_is_revoked_no_backup_by_a_plan_is_offered() -> None:
    association = PlanAssociation("a", "projects/p/locations/eu/backupPlans/gold", rules=(PlanRule("daily"),))
    found = verdict_on()
    found = replace(found, collected=replace(found.collected, plan=InstancePlan(association=association)))
    assert TRIGGER_BACKUP in [command.purpose for command in commands(found)]
    unreadable = replace(found, findings=(Finding.DATA_UNREADABLE,))
    assert TRIGGER_BACKUP not in [command.purpose for command in commands(unreadable)]


def test_a_shell_reads_hostile_names_as_single_words() -> None:
    for command in commands(verdict_on(run(), instance=replace(INSTANCE, id=HOSTILE))):
        words = shlex.split(command.command)
        assert words[:2] == ["gcloud", "sql"]
        assert f"--project={HOSTILE.project}" in words
        assert any(word.removeprefix("--instance=").startswith(HOSTILE.name) for word in words) or (
            f"--backup-instance={HOSTILE.name}" in words
        )


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://grafana.example", "https://grafana.example"),
        ("http://[::1]:3000/grafana/", "http://[::1]:3000/grafana"),
    ],
)
def test_the_url_of_a_site_has_no_slash_at_its_end(text: str, url: str) -> None:
    assert site_url(text) == url


@pytest.mark.parametrize(
    "text",
    [
        "",
        "grafana.example",
        "javascript:alert(1)",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://u:p@a",
        "http://a/?b",
        "http://a b",
    ],
)
def test_another_url_is_rejected_with_the_expected_format(text: str) -> None:
    with pytest.raises(ValueError, match="is not a valid URL; write http"):
        site_url(text)


@pytest.mark.parametrize(
    ("runs", "command"),
    [
        ([], "gcloud sql backups create --instance=orders --project=shop-prod"),
        ([run(ago=2 * DAY)], "gcloud sql backups create --instance=orders --project=shop-prod"),
        ([run(RunStatus.FAILED), run(ago=DAY)], "gcloud sql backups list --instance=orders --project=shop-prod"),
        ([run(RunStatus.RUNNING), run(ago=DAY)], "gcloud sql operations list --instance=orders --project=shop-prod"),
        ([run()], ""),
    ],
)
def test_the_next_command_is_about_the_worst_finding(runs: list[BackupRun], command: str) -> None:
    assert next_command(verdict_on(*runs)) == command


def test_there_is_no_next_command_where_gcloud_sql_does_not_help() -> None:
    unguarded = verdict_on(run(), policy=Policy(require_pitr=True))
    assert (unguarded.findings, next_command(unguarded)) == ((Finding.PITR_DISABLED,), "")
    unread = replace(verdict_on(run(ago=2 * DAY)), state=Protection.UNKNOWN)
    assert next_command(unread) == ""
