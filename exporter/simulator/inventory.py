"""Search of Cloud Asset Inventory v1: the projects and Cloud SQL instances of an organization, folder or project.

Source: https://cloud.google.com/asset-inventory/docs/reference/rest/v1/TopLevel/searchAllResources
"""

import re
from collections.abc import Iterator, Sequence
from datetime import timedelta

from exporter.simulator.search import project_name
from exporter.simulator.timeline import Resource, timestamp
from exporter.simulator.worlds import Project, World

PROJECT = "cloudresourcemanager.googleapis.com/Project"
INSTANCE = "sqladmin.googleapis.com/Instance"
LAG = timedelta(hours=7)  # until a new instance is in the inventory


def search_all_resources(world: World, scope: str, asset_types: Sequence[str]) -> list[Resource]:
    """Return the resources at any depth below a scope; of the given types, which may be regular expressions.

    Raises ValueError for a type that is not known.
    """
    patterns = [re.compile(text) for text in asset_types or (".*",)]
    for pattern in patterns:
        if not any(map(pattern.fullmatch, (PROJECT, INSTANCE))):
            raise ValueError(f"No supported asset type matches the specified asset type: {pattern.pattern}")
    return [
        resource
        for project_id, project in sorted(world.projects.items())
        if scope in (f"projects/{project_id}", project_name(project_id), *world.ancestors(project.parent))
        for resource in _resources(world, project_id, project)
        if any(pattern.fullmatch(str(resource["assetType"])) for pattern in patterns)
    ]


def _resources(world: World, project_id: str, project: Project) -> Iterator[Resource]:
    *folders, organization = world.ancestors(project.parent)
    common: Resource = {"project": project_name(project_id), "folders": folders, "organization": organization}
    yield {
        **common,
        "name": f"//cloudresourcemanager.googleapis.com/projects/{project_id}",
        "assetType": PROJECT,
        "displayName": project_id,
        "location": "global",
        "state": project.state,
        "labels": dict(project.labels),
        "additionalAttributes": {"projectId": project_id},
        "parentFullResourceName": f"//cloudresourcemanager.googleapis.com/{project.parent}",
    }
    for name, scenario in sorted(world.existing(project_id).items()):
        created = world.start - scenario.created_ago
        if created + LAG <= world.clock():
            yield {
                **common,
                "name": f"//cloudsql.googleapis.com/projects/{project_id}/instances/{name}",
                "assetType": INSTANCE,
                "displayName": name,
                "state": "RUNNABLE",
                "createTime": timestamp(created),
            }
