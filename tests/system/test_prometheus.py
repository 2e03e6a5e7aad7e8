"""A real Prometheus that scrapes the exporter."""

from collections import Counter
from pathlib import Path

from tests.support.builders import eventually
from tests.support.processes import exporter, is_up, prometheus, query
from tests.verdict.test_scenarios import PLAN_VERDICTS, VERDICTS


def test_prometheus_scrapes_the_exporter(tmp_path: Path) -> None:
    expected = Counter(state for state, _, _ in (VERDICTS | PLAN_VERDICTS).values())
    with exporter("demo", "--speed=60", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        with prometheus(running.url, tmp_path / "prometheus") as url:
            assert eventually(lambda: [r["value"][1] for r in query(url, "up")] == ["1"])
            states = 'count by (state) (cloudsql_backup_protection{project="museum"} == 1)'
            # Recovery times are known after the second poll.
            assert eventually(
                lambda: {r["metric"]["state"]: int(r["value"][1]) for r in query(url, states)} == expected
            )
            failed = query(url, 'cloudsql_backup_last_completed_error{instance_id="failing"}')
    assert failed[0]["metric"]["code"] == "DISK_SNAPSHOT_FAILED"
