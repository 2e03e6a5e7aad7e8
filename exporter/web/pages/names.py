"""Names that are similar to one that does not exist. Pure."""

from difflib import get_close_matches
from urllib.parse import urlencode

from exporter.facts.model import InstanceId
from exporter.verdict.evaluate import Evaluation
from exporter.web.pages.links import instance_path

MAX_SUGGESTIONS = 8


def similar_names(evaluation: Evaluation, wanted: InstanceId) -> tuple[list[tuple[str, str]], str]:
    """The names and paths of similar instances, and what is known about the one that was asked for."""
    projects = evaluation.by_project
    found = [InstanceId(name, wanted.name) for name, other in projects.items() if wanted.name in other.verdicts]
    if wanted.project in projects:
        names = get_close_matches(wanted.name, projects[wanted.project].verdicts, MAX_SUGGESTIONS, 0.5)
        found += [InstanceId(wanted.project, name) for name in names]
    else:
        for project in get_close_matches(wanted.project, projects, MAX_SUGGESTIONS, 0.6):
            names = get_close_matches(wanted.name, projects[project].verdicts, 2, 0.5)
            found += [InstanceId(project, name) for name in names]
    unique = list(dict.fromkeys(found))[:MAX_SUGGESTIONS]
    paths = [(f"{instance.name} in {instance.project}", instance_path(instance)) for instance in unique]
    return paths, _message(evaluation, wanted)


def similar_projects(evaluation: Evaluation, wanted: str, page: str) -> tuple[list[tuple[str, str]], str]:
    """The names of similar projects and their paths on a page, and what is known about the one asked for."""
    names = get_close_matches(wanted, evaluation.by_project, MAX_SUGGESTIONS, 0.5)
    paths = [(name, f"{page}?{urlencode({'project': name})}") for name in names]
    return paths, _project_message(evaluation, wanted)


def _message(evaluation: Evaluation, wanted: InstanceId) -> str:
    project = evaluation.by_project.get(wanted.project)
    removed = project.scan.removed.get(wanted.name) if project else None
    if removed:
        until = f"{removed.removed_at:%Y-%m-%d %H:%M} UTC"
        message = f"{wanted} was there until {until}; since then it has been deleted, or is no longer selected."
    elif project:
        message = f"Project {wanted.project} has no instance {wanted.name}, or none that the targets select."
    else:
        return _project_message(evaluation, wanted.project)
    return message + _of_shard(evaluation)


def _project_message(evaluation: Evaluation, project: str) -> str:
    """What is known about a project that has no facts."""
    if any(status.project == project for status in evaluation.projects):
        message = f"Project {project} has not been read yet; see the page Exporter."
    else:
        message = f"Project {project} is not among the targets of this exporter."
    return message + _of_shard(evaluation)


def _of_shard(evaluation: Evaluation) -> str:
    """A sentence about the other shards; empty without any."""
    info = evaluation.exporter
    if info.shard_total <= 1:
        return ""
    return f" This is shard {info.shard_index} of {info.shard_total}: another one may have it."
