"""The simulated searches for projects and folders, valid by Google's discovery document."""

from typing import Any

import pytest

from exporter.simulator.worlds import Folder, Project
from tests.simulator.discovery import document, validator
from tests.simulator.requests import get
from tests.support.builders import world

PROJECTS = {
    "shop-prod": Project(labels={"env": "prod", "team": "shop"}, parent="folders/7"),
    "shop-test": Project(labels={"env": "test", "team": "shop"}),
    "former-shop": Project(labels={"env": "prod"}, state="DELETE_REQUESTED"),
    "unlabelled": Project(labels={}),
}


def found(query: str) -> list[str]:
    projects: list[dict[str, Any]] = get(world(PROJECTS), "/v3/projects:search", query=query).get("projects", [])
    return [project["projectId"] for project in projects]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("labels.env=prod", ["former-shop", "shop-prod"]),
        ("labels.env:PROD", ["former-shop", "shop-prod"]),
        ("LABELS.env:prod", ["former-shop", "shop-prod"]),
        ('labels.env="prod"', ["former-shop", "shop-prod"]),
        ("labels.env=prod state:ACTIVE", ["former-shop", "shop-prod", "shop-test", "unlabelled"]),
        ("labels.env=test id:unlabelled", ["shop-test", "unlabelled"]),
        ("labels.team:*", ["shop-prod", "shop-test"]),
        ("labels:team", ["shop-prod", "shop-test"]),
        ("labels:test", ["shop-test"]),
        ("state:DELETE_REQUESTED", ["former-shop"]),
        ("lifecycleState=active", ["shop-prod", "shop-test", "unlabelled"]),
        ("name:shop-*", ["shop-prod", "shop-test"]),
        ("projectId:shop", []),
        ("parent:folders/7", ["shop-prod"]),
        ("parent.type:folder", ["shop-prod"]),
        ("parent.id:7", ["shop-prod"]),
        ("parent=folders/7 AND state=ACTIVE", ["shop-prod", "shop-test", "unlabelled"]),
        ("colour:red", []),
        ("shop-prod", []),
        ("", ["former-shop", "shop-prod", "shop-test", "unlabelled"]),
    ],
)
def test_projects_that_match_any_term_are_found(query: str, expected: list[str]) -> None:
    assert found(query) == expected


def test_projects_are_valid_by_the_discovery_document() -> None:
    manager = document("cloudresourcemanager.v3")
    validator(manager, "SearchProjectsResponse").validate(get(world(PROJECTS), "/v3/projects:search"))


FOLDERS = {
    "folders/7": Folder(),
    "folders/8": Folder("folders/7"),
    "folders/9": Folder("folders/7", state="DELETE_REQUESTED"),
    "folders/10": Folder("folders/7", visible=False),
}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("parent=folders/7 AND state=ACTIVE", ["folders/8"]),
        ("parent:folders/7", ["folders/8", "folders/9"]),
        ("parent=folders/7 AND NOT state=ACTIVE", ["folders/9"]),
        ("parent=organizations/1 OR state=DELETE_REQUESTED", ["folders/7", "folders/9"]),
        ('displayName="Folder 8"', ["folders/8"]),
        ("displayName=Folder*", ["folders/7", "folders/8", "folders/9"]),
        ("colour=red", []),
        ("", ["folders/7", "folders/8", "folders/9"]),
    ],
)
def test_folders_that_match_and_are_visible_are_found(query: str, expected: list[str]) -> None:
    response = get(world(PROJECTS, folders=FOLDERS), "/v3/folders:search", query=query)
    validator(document("cloudresourcemanager.v3"), "SearchFoldersResponse").validate(response)
    assert [folder["name"] for folder in response.get("folders", [])] == expected
