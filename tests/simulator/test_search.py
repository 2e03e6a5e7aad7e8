"""The simulated search for projects: terms joined by OR, and projects valid by Google's discovery document."""

from typing import Any

import pytest

from exporter.simulator.worlds import Project
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
