"""The Terraform module: evaluated, it grants exactly the permissions that the code uses. No provider checks it here."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import tfparse

from exporter.googleapis.permissions import PERMISSIONS

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "deploy" / "terraform"
DISCOVERY = {"projects.search", "folders.search", "searchAllResources"}
EVERYTHING = """
project       = "monitoring"
projects      = ["shop-prod", "museum"]
plan_projects = ["vaults", "museum"]
folders       = ["345"]
organization  = "123"
collect       = { recovery_times = true, deleted_instances = true, backup_dr = true }
"""


def evaluate(folder: Path, variables: str, module: Path = MODULE) -> dict[str, Any]:
    """The resources of the module by type. Fails for a file that cannot be parsed."""
    copy = folder / "module"
    shutil.copytree(module, copy)
    (copy / "test.tfvars").write_text(variables)
    resources: dict[str, Any] = tfparse.load_from_path(str(copy), stop_on_hcl_error=True, vars_paths=["test.tfvars"])
    assert resources.keys() >= {"variable", "output", "locals"}  # an empty result stands for a file that is not valid
    return resources


def permissions_of(role: dict[str, Any]) -> set[str]:
    return set(role["permissions"])


def needed(methods: set[str]) -> set[str]:
    """The permissions of API methods."""
    return {PERMISSIONS[method].name for method in methods}


def test_by_default_projects_grant_what_polls_need_and_nothing_else(tmp_path: Path) -> None:
    resources = evaluate(tmp_path, 'project = "monitoring"\nprojects = ["shop-prod"]\n')
    (role,) = resources["google_project_iam_custom_role"]
    assert permissions_of(role) == needed({"instances.list", "backupRuns.list", "backupRuns.get"})
    assert role["project"] == "shop-prod"
    assert "google_organization_iam_custom_role" not in resources


def test_with_everything_the_roles_have_the_permissions_of_all_methods(tmp_path: Path) -> None:
    resources = evaluate(tmp_path, EVERYTHING)
    (organization,) = resources["google_organization_iam_custom_role"]
    assert permissions_of(organization) == needed(set(PERMISSIONS))
    roles = {role["project"]: permissions_of(role) for role in resources["google_project_iam_custom_role"]}
    reading = needed(set(PERMISSIONS) - DISCOVERY)
    assert roles == {"shop-prod": reading, "museum": reading, "vaults": needed({"backupPlans.list"})}


def test_folders_are_bound_to_the_role_of_the_organization(tmp_path: Path) -> None:
    resources = evaluate(tmp_path, EVERYTHING)
    (binding,) = resources["google_folder_iam_member"]
    (role,) = resources["google_organization_iam_custom_role"]
    assert (binding["folder"], binding["role"]) == ("folders/345", role["id"])
    assert "google_organization_iam_member" not in resources


def test_a_kubernetes_service_account_can_hold_the_roles_itself(tmp_path: Path) -> None:
    identity = 'workload_identity = "direct"\nkubernetes = { project_number = "42", namespace = "monitoring" }\n'
    resources = evaluate(tmp_path, f'project = "ops"\nprojects = ["shop-prod"]\n{identity}')
    (binding,) = resources["google_project_iam_member"]
    pool = "projects/42/locations/global/workloadIdentityPools/ops.svc.id.goog"
    assert binding["member"] == (
        f"principal://iam.googleapis.com/{pool}/subject/ns/monitoring/sa/cloudsql-backup-exporter"
    )
    assert "google_service_account" not in resources


def test_apis_are_enabled_once_per_project(tmp_path: Path) -> None:
    services = evaluate(tmp_path, EVERYTHING)["google_project_service"]
    enabled = [(service["project"], service["service"]) for service in services]
    assert len(enabled) == len(set(enabled))
    assert {("shop-prod", "sqladmin.googleapis.com"), ("monitoring", "cloudasset.googleapis.com")} <= set(enabled)


def test_a_file_that_is_not_valid_is_noticed(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(MODULE, broken)
    (broken / "main.tf").write_text("resource {")
    with pytest.raises(Exception, match=r"main\.tf"):
        evaluate(tmp_path, EVERYTHING, broken)


def test_the_page_of_permissions_lists_each_method() -> None:
    text = (ROOT / "docs" / "permissions.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| `([\w.]+)` \| `([\w./]+)` \|", text, flags=re.MULTILINE)
    assert {method: (name, role) for method, name, role in rows} == {
        method: (permission.name, permission.role) for method, permission in PERMISSIONS.items()
    }
