"""Searches for projects and folders as in Cloud Resource Manager v3.

Several terms are joined by OR in a search for projects; one for folders supports AND, OR and NOT. Source:
https://cloud.google.com/resource-manager/reference/rest/v3/projects/search, and /folders/search
"""

import re
from collections.abc import Iterable
from zlib import crc32

from exporter.simulator.timeline import Resource
from exporter.simulator.worlds import Folder, Project, World

_TERMS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s"])+')
_TERM = re.compile(r"(?P<field>[\w.-]+)[:=](?P<value>.+)", re.DOTALL)


def search_projects(world: World, query: str) -> list[Resource]:
    """Return the projects that match any term of the query; all without a query. An unknown field matches nothing."""
    terms = _TERMS.findall(query)
    return [
        _resource(project_id, project)
        for project_id, project in sorted(world.projects.items())
        if not terms or any(_matches(project_id, project, term) for term in terms)
    ]


def search_folders(world: World, query: str) -> list[Resource]:
    """Return the visible folders that match the query; all of them without a query."""
    return [
        {"name": name, "parent": folder.parent, "displayName": f"Folder {name[8:]}", "state": folder.state}
        for name, folder in sorted(world.folders.items())
        if folder.visible
        and (not query or any(_matches_all(name, folder, part) for part in re.split(r"\s+OR\s+", query)))
    ]


def _matches_all(name: str, folder: Folder, expression: str) -> bool:
    """Whether a folder matches all terms of an expression, each of which may begin with NOT."""
    terms = re.split(r"\s+AND\s+", expression.strip())
    return all(
        _matches_folder(name, folder, term.removeprefix("NOT ")) is not term.startswith("NOT ") for term in terms
    )


def _matches_folder(name: str, folder: Folder, term: str) -> bool:
    match = _TERM.fullmatch(term)
    if match is None:
        return False
    values = {
        "displayname": f"Folder {name[8:]}",
        "parent": folder.parent,
        "state": folder.state,
        "lifecyclestate": folder.state,
    }
    return _has_value(match["value"], [values[field]] if (field := match["field"].lower()) in values else [])


def project_name(project_id: str) -> str:
    """Return the resource name of a project, which contains its number."""
    return f"projects/{10**11 + crc32(project_id.encode())}"


def _resource(project_id: str, project: Project) -> Resource:
    return {
        "name": project_name(project_id),
        "projectId": project_id,
        "parent": project.parent,
        "state": project.state,
        "displayName": project_id,
        "labels": dict(project.labels),
    }


def _matches(project_id: str, project: Project, term: str) -> bool:
    """Whether a project matches `field:value` or `field=value`, regardless of case; `*` at the end is any text."""
    match = _TERM.fullmatch(term)
    if match is None:
        return False
    return _has_value(match["value"], _values(project_id, project, match["field"].lower()))


def _has_value(text: str, candidates: Iterable[str]) -> bool:
    """Whether the value of a term, which may be quoted, is among the candidates."""
    wanted = re.sub(r"\\(.)", r"\1", text.removeprefix('"').removesuffix('"')).lower()
    values = [value.lower() for value in candidates]
    if wanted.endswith("*"):
        return any(value.startswith(wanted[:-1]) for value in values)
    return wanted in values


def _values(project_id: str, project: Project, field: str) -> Iterable[str]:
    parent_type, _, parent_id = project.parent.partition("/")
    match field:
        case "name" | "displayname" | "id" | "projectid":
            return (project_id,)
        case "state" | "lifecyclestate":
            return (project.state,)
        case "parent":
            return (project.parent,)
        case "parent.type":
            return (parent_type.removesuffix("s"),)
        case "parent.id":
            return (parent_id,)
        case "labels":
            return (*project.labels, *project.labels.values())
        case _ if field.startswith("labels.") and field.removeprefix("labels.") in project.labels:
            return (project.labels[field.removeprefix("labels.")],)
        case _:
            return ()
