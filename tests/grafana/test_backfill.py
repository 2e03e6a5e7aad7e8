"""Backfilling a Prometheus with a simulated world."""

from pathlib import Path

from scripts.backfill import backfill
from tests.support.processes import prometheus, query


def test_backfill_contains_scraped_and_recorded_series(tmp_path: Path) -> None:
    backfill(tmp_path, "healthy", days=1 / 24)
    with prometheus("", tmp_path, scrape_configs=[]) as url:
        scraped = query(
            url, 'count_over_time(cloudsql_backup_protection{instance_id="healthy", state="protected"}[1h])'
        )
        recorded = query(url, "last_over_time(project:cloudsql_backup_protected:ratio[1h])")
    assert [sample["value"][1] for sample in scraped] in (["12"], ["13"])  # every five minutes
    assert [sample["value"][1] for sample in recorded] == ["1"]
