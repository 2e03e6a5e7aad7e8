"""Search for projects as in Cloud Resource Manager v3: several terms are joined by OR.

Source: https://cloud.google.com/resource-manager/reference/rest/v3/projects/search
"""

import re
from collections.abc import Iterable
from zlib import crc32

from exporter.simulator.timeline import Resource
from exporter.simulator.worlds import Project, World

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


def _resource(project_id: str, project: Project) -> Resource:
    return {
        "name": f"projects/{10**11 + crc32(project_id.encode())}",
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
    wanted = re.sub(r"\\(.)", r"\1", match["value"].removeprefix('"').removesuffix('"')).lower()
    values = [value.lower() for value in _values(project_id, project, match["field"].lower())]
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
