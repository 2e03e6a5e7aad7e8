"""A real Prometheus that scrapes the exporter."""

from pathlib import Path

from tests.support.builders import eventually
from tests.support.processes import exporter, is_up, prometheus, query


def test_prometheus_scrapes_the_exporter(tmp_path: Path) -> None:
    with exporter("demo", log=tmp_path / "log") as running:
        assert eventually(lambda: is_up(f"{running.url}-/ready"))
        with prometheus(running.url, tmp_path / "prometheus") as url:
            assert eventually(lambda: [r["value"][1] for r in query(url, "up")] == ["1"])
            states = query(url, 'count by (state) (cloudsql_backup_protection{project="museum"} == 1)')
            failed = query(url, 'cloudsql_backup_last_completed_error{instance_id="failing"}')
    counts = {r["metric"]["state"]: r["value"][1] for r in states}
    assert counts == {"protected": "6", "at_risk": "7", "unprotected": "6", "exempt": "9"}
    assert failed[0]["metric"]["code"] == "DISK_SNAPSHOT_FAILED"
