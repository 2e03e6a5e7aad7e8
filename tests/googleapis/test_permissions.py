"""The table of permissions covers every method that the exporter calls, and its commands are safe to paste."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.config import Credentials
from exporter.googleapis.permissions import (
    PERMISSIONS,
    UNKNOWN_MEMBER,
    UNRESTRICTED_METHODS,
    WRITE_PERMISSIONS,
    iam_member,
    permission_named,
)
from exporter.scan.source import SourceError
from exporter.simulator import Fault, Simulator
from tests.googleapis.helpers import google_source

PACKAGE = Path(__file__).parents[2] / "exporter" / "googleapis"
MEMBER = "serviceAccount:exporter@ops.iam.gserviceaccount.com"


def test_table_has_exactly_the_methods_that_are_called() -> None:
    calls = r'_client\.(?:pages|execute)\(\s*"([\w.]+)"'
    called = {name for file in PACKAGE.glob("*.py") for name in re.findall(calls, file.read_text())}
    assert called == PERMISSIONS.keys() | UNRESTRICTED_METHODS
    assert not PERMISSIONS.keys() & UNRESTRICTED_METHODS


def test_no_method_needs_a_write_permission() -> None:
    assert not {permission.name for permission in PERMISSIONS.values()} & set(WRITE_PERMISSIONS)


def test_documentation_names_every_permission() -> None:
    page = (Path(__file__).parents[2] / "docs" / "security.md").read_text()
    names = {permission.name for permission in PERMISSIONS.values()} | set(WRITE_PERMISSIONS)
    extra = {"cloudsql.instances.export"}
    assert set(re.findall(r"\b(?:backupdr|cloudasset|cloudsql|resourcemanager)(?:\.\w+){2}", page)) == names | extra


def test_command_grants_the_role_on_the_project() -> None:
    assert permission_named("cloudsql.backupRuns.list").grant_command("shop-prod", MEMBER) == (
        f"gcloud projects add-iam-policy-binding shop-prod --member={MEMBER} "
        "--role=roles/cloudsql.viewer --condition=None"
    )


def test_command_for_a_search_names_the_organization_not_the_query() -> None:
    command = permission_named("resourcemanager.projects.get").grant_command("labels.env=prod", MEMBER)
    assert command.startswith("gcloud organizations add-iam-policy-binding ORGANIZATION_ID --member=")
    assert "--role=roles/browser " in command


@pytest.mark.parametrize(
    ("resource", "command"),
    [
        ("folders/12", "gcloud resource-manager folders add-iam-policy-binding 12"),
        ("organizations/1", "gcloud organizations add-iam-policy-binding 1"),
    ],
)
def test_command_grants_the_role_on_the_folder_or_organization(resource: str, command: str) -> None:
    permission = permission_named("cloudasset.assets.searchAllResources")
    expected = f"{command} --member={MEMBER} --role=roles/cloudasset.viewer --condition=None"
    assert permission.grant_command(resource, MEMBER) == expected


@pytest.mark.parametrize("name", ["$(reboot)", "a; reboot", "it's", "{member}", "--quiet x"])
def test_names_are_quoted_for_the_shell(name: str) -> None:
    words = shlex.split(permission_named("cloudsql.instances.list").grant_command(name, f"user:{name}"))
    assert words[:5] == ["gcloud", "projects", "add-iam-policy-binding", name, f"--member=user:{name}"]


@pytest.mark.parametrize("method", ["instances.list", "backupRuns.list", "projects.search"])
def test_denied_request_tells_its_permission(simulator: Simulator, method: str) -> None:
    simulator.faults.add(Fault("forbidden", method=method))
    source = google_source(simulator.url)
    listings: dict[str, Callable[[], Iterator[object]]] = {
        "instances.list": lambda: source.instances("museum"),
        "backupRuns.list": lambda: source.backup_runs("museum", "-"),
        "projects.search": lambda: source.projects("state:ACTIVE"),
    }
    with pytest.raises(SourceError) as raised:
        list(listings[method]())
    assert raised.value.missing_permission == PERMISSIONS[method].name


def test_member_is_the_account_that_a_target_impersonates(tmp_path: Path) -> None:
    for kind in ("adc", {"impersonate": "a@b"}, {"file": str(tmp_path / "none.json")}):
        assert iam_member(Credentials.model_validate(kind), "reader@shop") == "serviceAccount:reader@shop"


def test_member_is_the_impersonated_account_or_that_of_the_key_file(tmp_path: Path) -> None:
    assert iam_member(Credentials.model_validate({"impersonate": "a@b.iam.gserviceaccount.com"})) == (
        "serviceAccount:a@b.iam.gserviceaccount.com"
    )
    key = tmp_path / "key.json"
    key.write_text(json.dumps({"client_email": "c@d.iam.gserviceaccount.com"}))
    assert iam_member(Credentials.model_validate({"file": str(key)})) == "serviceAccount:c@d.iam.gserviceaccount.com"


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"client_email": 5}'])
def test_member_is_a_placeholder_where_the_configuration_does_not_tell(tmp_path: Path, content: str) -> None:
    key = tmp_path / "key.json"
    key.write_text(content)
    assert iam_member(Credentials.model_validate({"file": str(key)})) == UNKNOWN_MEMBER
    assert iam_member(Credentials.model_validate({"file": str(tmp_path / "none.json")})) == UNKNOWN_MEMBER
    assert iam_member(Credentials.model_validate("adc")) == UNKNOWN_MEMBER
