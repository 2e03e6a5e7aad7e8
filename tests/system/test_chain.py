"""End-to-end test with the real programs: simulated API, exporter, Prometheus, Alertmanager, webhook receiver.

Rules and inhibition are the shipped ones; only their durations are shortened, because a day takes seconds here.
"""

import contextlib
import json
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.simulator import Fault
from exporter.simulator.backup_plans import GOLD, Association
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.timeline import HEALTHY, MISSED, Run, failing
from exporter.simulator.worlds import Project
from tests.support.builders import HOUR, eventually
from tests.support.processes import free_port, is_up, prometheus
from tests.support.promql import with_short_waits
from tests.support.testbed import TestBed

DEPLOY = Path(__file__).parents[2] / "deploy"
SETTLE_SECONDS = 3  # time within which every pending notification arrives
AlertEvent = tuple[str, str, str]  # status, alert name without prefix, instance or project


def _orders(window: int) -> Run:
    """A backup that fails once and succeeds from the next day on."""
    return failing("DISK_SNAPSHOT_FAILED") if window == 1 else HEALTHY


def _stock(window: int) -> Run:
    """A backup whose window is missed once, without any run."""
    return MISSED if window == 4 else HEALTHY


def _vaulted(window: int) -> Run:
    """A backup by a backup plan that fails on the same day as that of orders."""
    return failing("INTERNAL") if window == 1 else HEALTHY


# Enough healthy instances that a single failing one does not trigger CloudSQLBackupErrorBudgetBurn as well.
HEALTHY_INSTANCES = {f"healthy-{number}": SCENARIOS["healthy"] for number in range(36)}
PLAN = replace(GOLD, project="vault-prod")
VAULTED = replace(SCENARIOS["enhanced"], associations=(Association({"daily": _vaulted}, plan=PLAN),))
PROJECTS = {
    "shop-prod": Project(
        {
            "orders": replace(SCENARIOS["healthy"], windows=_orders),
            "replica": SCENARIOS["replica"],
        }
    ),
    # A project of its own: a notification lists all alerts of a group, also one that resolves a moment later.
    "vault-prod": Project({"vaulted": VAULTED}, plans=(PLAN,)),
    "warehouse-prod": Project(
        {"stock": replace(SCENARIOS["healthy"], windows=_stock), "idle": SCENARIOS["idle"], **HEALTHY_INSTANCES}
    ),
}


class Receiver:
    """A webhook receiver that stores notifications."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        received = self.notifications

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name in the base class)
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def events(self) -> list[AlertEvent]:
        """Return every alert of every notification, in order of arrival."""
        return [
            (alert["status"], alert["labels"]["alertname"].removeprefix("CloudSQLBackup"), _subject(alert["labels"]))
            for notification in self.notifications
            for alert in notification["alerts"]
        ]


def _subject(labels: dict[str, str]) -> str:
    return labels.get("instance_id") or labels.get("project", "")


@contextlib.contextmanager
def alertmanager(receiver: str, folder: Path) -> Iterator[str]:
    """Run Debian's Alertmanager with the shipped inhibition rules; yield its address."""
    shipped = yaml.safe_load((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    config = {
        "route": {
            "receiver": "webhook",
            "group_by": shipped["route"]["group_by"],
            "group_wait": "1s",
            "group_interval": "1s",
            "repeat_interval": "4h",
        },
        "inhibit_rules": shipped["inhibit_rules"],
        "receivers": [{"name": "webhook", "webhook_configs": [{"url": receiver, "send_resolved": True}]}],
    }
    (folder / "alertmanager.yml").write_text(json.dumps(config))
    address = f"127.0.0.1:{free_port()}"
    command = [
        "prometheus-alertmanager",
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager'}",
        f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]
    with (folder / "alertmanager.log").open("w") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out)  # noqa: S603 (a fixed list)
    try:
        assert eventually(lambda: is_up(f"http://{address}/-/ready")), (folder / "alertmanager.log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(10)


class Chain:
    """The running exporter and the receiver at the end of its notifications."""

    def __init__(self, stage: TestBed, receiver: Receiver) -> None:
        self.stage, self.receiver = stage, receiver
        self.exporter = stage.forker.spawn()
        assert stage.caught_up()

    def pass_time(self, span: timedelta) -> None:
        """Advance the clock, no faster than the exporter polls and Prometheus scrapes."""
        until = self.stage.clock() + span
        while self.stage.clock() < until:
            assert eventually(self.stage.advance)
        assert self.stage.caught_up()

    def expect_notifications(self, expected: list[AlertEvent]) -> list[dict[str, Any]]:
        """Return the alerts received since the last call; they must be the expected ones, once each, and no others.

        Those of one call may arrive in any order.
        """
        eventually(lambda: len(self.receiver.events()) >= len(expected), seconds=30)
        time.sleep(SETTLE_SECONDS)
        events = self.receiver.events()
        alerts = [alert for notification in self.receiver.notifications for alert in notification["alerts"]]
        self.receiver.notifications.clear()
        assert sorted(events) == sorted(expected)
        return sorted(alerts, key=lambda alert: str(alert["labels"]["alertname"]))


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    # stale_after tolerates a clock that runs ahead of polls; the age limits tolerate one missed day.
    poll = {"interval": "40ms", "stale_after": "4h"}
    stage = TestBed(
        tmp_path,
        PROJECTS,
        poll=poll,
        policies=[{"max_age": "60h", "critical_age": "90h"}],
        collect={"user_labels": ["team"], "backup_dr": True},
    )
    receiver = Receiver()
    rules = tmp_path / "cloudsql-backup.rules.yml"
    rules.write_text(with_short_waits((DEPLOY / "prometheus" / rules.name).read_text()))
    running_chain = Chain(stage, receiver)
    with (
        alertmanager(receiver.url, tmp_path) as address,
        prometheus(
            stage.url,
            tmp_path / "prometheus",
            rule_files=[str(rules)],
            alerting={"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
        ),
    ):
        yield running_chain
    stage.close()
    receiver.close()


def test_each_alert_notifies_once_on_firing_and_once_on_resolving(chain: Chain) -> None:
    stage = chain.stage
    chain.expect_notifications([])  # a healthy fleet, including a replica and an idle instance

    chain.pass_time(17 * HOUR)  # an hour after the start of the next window: the backup has failed
    failed, by_plan = chain.expect_notifications(
        [("firing", "LastRunFailed", "orders"), ("firing", "PlanRuleFailed", "vaulted")]
    )
    assert by_plan["labels"]["rule"] == "daily"
    assert failed["labels"] == {
        "alertname": "CloudSQLBackupLastRunFailed",
        "project": "shop-prod",
        "instance_id": "orders",
        "severity": "warning",
        "team": "storefront",
        "label_team": "storefront",
    }
    assert failed["annotations"] == {
        "summary": "The last automated backup failed.",
        "description": "The last automated backup of shop-prod:orders failed. Consecutive failures: 1.",
        "runbook_url": "https://runbooks.example.com/cloudsql-backup/CloudSQLBackupLastRunFailed.md",
        "dashboard_url": "https://grafana.example.com/d/cloudsql-backup-instance?var-project=shop-prod&var-instance=orders",
    }
    chain.pass_time(24 * HOUR)
    chain.expect_notifications([("resolved", "LastRunFailed", "orders"), ("resolved", "PlanRuleFailed", "vaulted")])

    chain.pass_time(51 * HOUR)  # a window has just closed without a run
    chain.expect_notifications([("firing", "Overdue", "stock")])
    chain.pass_time(24 * HOUR)
    chain.expect_notifications([("resolved", "Overdue", "stock")])

    stage.simulator.faults.add(Fault("forbidden", "shop-prod"))  # the permission is revoked
    chain.expect_notifications([("firing", "ProjectUnreadable", "shop-prod")])
    stage.clock.advance(5 * 3600)  # verdicts are unknown now: inhibited as an effect
    chain.expect_notifications([])
    stage.simulator.faults.clear()
    chain.expect_notifications([("resolved", "ProjectUnreadable", "shop-prod")])

    stage.forker.kill(chain.exporter)
    chain.expect_notifications([("firing", "ExporterAbsent", "")])
    chain.exporter = stage.forker.spawn()
    chain.expect_notifications([("resolved", "ExporterAbsent", "")])
