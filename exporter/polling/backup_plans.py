"""Collecting the backup plans of instances of the enhanced tier, with every poll of a project that has some."""

from collections.abc import Callable
from dataclasses import replace

from exporter.facts.collected import Collected, Collection
from exporter.polling.collect import Collector, IncompleteRoundError, Round
from exporter.scan.backup_plans import read_plans


def plans_collector(report_unreadable: Callable[[str, str, str], None]) -> Collector:
    """The collector; `report_unreadable` is called with project, kind and field of what cannot be read."""

    def read(this_round: Round, collected: Collected) -> Collected:
        instances = {name: record.instance for name, record in this_round.scan.records.items()}
        planned = {name: instance for name, instance in instances.items() if instance.has_backup_plan}
        if not planned:
            return replace(collected, plans=None)

        def report(kind: str, text: str) -> None:
            report_unreadable(this_round.project, kind, text)

        reading = read_plans(this_round.source, this_round.project, planned, this_round.now, collected.plans, report)
        collected = replace(collected, plans=reading.plans)
        if reading.failure:
            raise IncompleteRoundError(collected, reading.failure, reading.failed_in)
        return collected

    return Collector(Collection.BACKUP_DR, _is_due, read)


def _is_due(this_round: Round) -> bool:
    """Whether the project has instances of the enhanced tier, or had some at the last round."""
    known = this_round.before.collected
    had_some = known.plans is not None or Collection.BACKUP_DR in known.status
    return had_some or any(record.instance.has_backup_plan for record in this_round.scan.records.values())
