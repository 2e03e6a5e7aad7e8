"""Days of a simulated world as data of a Prometheus, to look at dashboards with."""

from pathlib import Path

from scripts.backfill import write

from tests.support.processes import prometheus, query


def test_hours_of_a_world_are_there_with_what_the_rules_record(tmp_path: Path) -> None:
    write(tmp_path, "healthy", days=1 / 24)
    with prometheus("", tmp_path, scrape_configs=[]) as url:
        seen = query(url, 'count_over_time(cloudsql_backup_protection{instance_id="healthy", state="protected"}[1h])')
        recorded = query(url, "last_over_time(project:cloudsql_backup_protected:ratio[1h])")
    assert [sample["value"][1] for sample in seen] in (["12"], ["13"])  # every five minutes
    assert [sample["value"][1] for sample in recorded] == ["1"]
