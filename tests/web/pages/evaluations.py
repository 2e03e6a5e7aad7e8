"""Evaluations for the tests of pages."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from exporter.config import Config
from exporter.facts.counters import Counters
from exporter.facts.history import history
from exporter.facts.model import BackupRun, Instance, InstanceId, PollResult
from exporter.facts.record import ProjectScan, Record
from exporter.facts.snapshot import ProjectStatus, Snapshot
from exporter.verdict.assess import Verdict
from exporter.verdict.evaluate import Evaluation, evaluate
from tests.support.builders import EXPORTER_INFO, INSTANCE, NOW, config

PROJECT = "shop-prod"


def record(name: str, runs: Sequence[BackupRun], project: str = PROJECT, **fields: Any) -> Record:
    """The record of an instance, with some fields of it."""
    instance: Instance = replace(INSTANCE, id=InstanceId(project, name), **fields)
    return Record(instance, history(runs), Counters(NOW))


def status(
    *records: Record,
    read_at: datetime = NOW,
    result: PollResult | None = PollResult.SUCCESS,
    message: str = "",
    carried_over: Mapping[str, datetime] | None = None,
) -> ProjectStatus:
    """The status of the project of the records."""
    scan = ProjectScan(
        read_at=read_at,
        full_listing_at=read_at,
        records={each.instance.id.name: each for each in records},
        carried_over=carried_over or {},
    )
    project = records[0].instance.id.project if records else PROJECT
    return ProjectStatus(project, result, message, scan=scan)


def evaluation(*statuses: ProjectStatus, now: datetime = NOW, settings: Config | None = None) -> Evaluation:
    """The evaluation of projects."""
    projects = {each.project: each for each in statuses}
    return evaluate(Snapshot(projects), settings or config(projects=(PROJECT,)), EXPORTER_INFO, now)


def only(found: Evaluation) -> Verdict:
    """The verdict on its only instance."""
    (verdict,) = found.verdicts
    return verdict


def statuses(found: Evaluation) -> Mapping[str, ProjectStatus]:
    """The status of each project."""
    return {each.project: each for each in found.projects}
