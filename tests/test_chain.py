"""The whole chain with the real programs: simulated API, exporter, Prometheus, Alertmanager, and who is told.

Rules and inhibition are those that ship; only their waiting times are shortened, since here a day takes seconds.
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
from exporter.simulator.history import HEALTHY, MISSED, Run, failing
from exporter.simulator.scenarios import SCENARIOS
from exporter.simulator.worlds import Project
from tests.builders import HOUR, waiting
from tests.promql import hurried
from tests.real_programs import answering, free_port, prometheus
from tests.stage import Stage

DEPLOY = Path(__file__).parent.parent / "deploy"
SETTLED = 3  # seconds in which everything that would be told is told
Told = tuple[str, str, str]  # status, alert, instance or project


def _orders(window: int) -> Run:
    """Fails once, and succeeds from the next day on."""
    return failing("DISK_SNAPSHOT_FAILED") if window == 1 else HEALTHY


def _stock(window: int) -> Run:
    """Passes one window by without a trace, two days later."""
    return MISSED if window == 4 else HEALTHY


# Many that are well, so that one in trouble does not endanger the objective too.
WELL = {f"well-{number}": SCENARIOS["healthy"] for number in range(24)}
PROJECTS = {
    "shop-prod": Project({"orders": replace(SCENARIOS["healthy"], windows=_orders), "replica": SCENARIOS["replica"]}),
    "warehouse-prod": Project(
        {"stock": replace(SCENARIOS["healthy"], windows=_stock), "idle": SCENARIOS["idle"], **WELL}
    ),
}


class Receiver:
    """A webhook that remembers what it was told."""

    def __init__(self) -> None:
        self.notifications: list[dict[str, Any]] = []
        received = self.notifications

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the name the base class gives it)
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def told(self) -> list[Told]:
        """Every alert of every notification, in order."""
        return [
            (alert["status"], alert["labels"]["alertname"].removeprefix("CloudSQLBackup"), _about(alert["labels"]))
            for notification in self.notifications
            for alert in notification["alerts"]
        ]


def _about(labels: dict[str, str]) -> str:
    return labels.get("instance_id") or labels.get("project", "")


@contextlib.contextmanager
def alertmanager(receiver: str, folder: Path) -> Iterator[str]:
    """Debian's Alertmanager with the inhibition that ships; its address."""
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
        assert waiting(lambda: answering(f"http://{address}/-/ready")), (folder / "alertmanager.log").read_text()
        yield address
    finally:
        process.terminate()
        process.wait(10)


class Chain:
    """Everything in its place, and the exporter running."""

    def __init__(self, stage: Stage, receiver: Receiver) -> None:
        self.stage, self.receiver = stage, receiver
        self.exporter = stage.nursery.born()
        assert stage.caught_up()

    def pass_time(self, span: timedelta) -> None:
        """Let time go on, no faster than the exporter polls and Prometheus looks."""
        until = self.stage.clock() + span
        while self.stage.clock() < until:
            assert waiting(self.stage.move)
        assert self.stage.caught_up()

    def news(self, expected: list[Told]) -> list[dict[str, Any]]:
        """The alerts that were told of since the last time: those expected, once, and no other."""
        waiting(lambda: len(self.receiver.told()) >= len(expected), seconds=30)
        time.sleep(SETTLED)
        told = self.receiver.told()
        alerts = [alert for notification in self.receiver.notifications for alert in notification["alerts"]]
        self.receiver.notifications.clear()
        assert told == expected
        return alerts


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    # Time may run ahead of polls, but not so far that facts are old; one missed day is no more than that.
    patient = {"interval": "40ms", "stale_after": "4h"}
    stage = Stage(tmp_path, PROJECTS, poll=patient, policies=[{"max_age": "60h", "critical_age": "90h"}])
    receiver = Receiver()
    rules = tmp_path / "cloudsql-backup.rules.yml"
    rules.write_text(hurried((DEPLOY / "prometheus" / rules.name).read_text()))
    started = Chain(stage, receiver)
    with (
        alertmanager(receiver.url, tmp_path) as address,
        prometheus(
            stage.url,
            tmp_path / "prometheus",
            rule_files=[str(rules)],
            alerting={"alertmanagers": [{"static_configs": [{"targets": [address]}]}]},
        ),
    ):
        yield started
    stage.close()
    receiver.close()


def test_each_trouble_is_told_once_and_so_is_its_end(chain: Chain) -> None:
    stage = chain.stage
    chain.news([])  # a healthy fleet with a replica and an idle instance

    chain.pass_time(17 * HOUR)  # the next window opened an hour ago: the backup failed
    (failed,) = chain.news([("firing", "LastRunFailed", "orders")])
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
    chain.news([("resolved", "LastRunFailed", "orders")])

    chain.pass_time(51 * HOUR)  # a window has just closed without a trace
    chain.news([("firing", "Overdue", "stock")])
    chain.pass_time(24 * HOUR)
    chain.news([("resolved", "Overdue", "stock")])

    stage.simulator.faults.add(Fault("forbidden", "shop-prod"))  # permission is revoked
    chain.news([("firing", "ProjectUnreadable", "shop-prod")])
    stage.clock.advance(5 * 3600)  # verdicts are unknown now, which follows from it
    chain.news([])
    stage.simulator.faults.clear()
    chain.news([("resolved", "ProjectUnreadable", "shop-prod")])

    stage.nursery.killed(chain.exporter)
    chain.news([("firing", "ExporterAbsent", "")])
    chain.exporter = stage.nursery.born()
    chain.news([("resolved", "ExporterAbsent", "")])
