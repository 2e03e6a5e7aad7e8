"""The Kubernetes manifests: what kubectl builds from them, checked against schemas and for what the exporter needs."""

import copy
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from exporter.cli.flags import parse_flags
from exporter.config import load
from scripts import manifests
from tests.support.dashboards import FILES as DASHBOARDS
from tests.support.deploy_tools import KUBECTL_VERSIONS, kubectl
from tests.support.kubernetes import (
    GOOGLE,
    Object,
    container,
    named,
    objects,
    of_kind,
    problems,
    rule_groups,
    selector_problems,
    version_labels,
    workload,
)
from tests.support.promql import RULES

ROOT = RULES.parents[2]
KUBERNETES = ROOT / "deploy" / "kubernetes"
PAGE = ROOT / "docs" / "installation" / "kubernetes.md"
OVERLAYS = sorted(path.parent.name for path in KUBERNETES.glob("overlays/*/kustomization.yaml"))
SHIPPED_GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
IMAGE = "ghcr.io/cloudsql-backup-exporter/cloudsql-backup-exporter"
each_output = pytest.mark.parametrize("name", ["base", *OVERLAYS])


def folder(name: str) -> Path:
    return KUBERNETES / (name if name == "base" else f"overlays/{name}")


def build(path: Path, version: str = KUBECTL_VERSIONS[-1]) -> str:
    """Return what `kubectl kustomize` prints."""
    process = subprocess.run([kubectl(version), "kustomize", path], capture_output=True, text=True, check=False)  # noqa: S603 (fixed)
    assert process.returncode == 0, process.stderr
    return process.stdout


@cache
def _built(name: str) -> str:
    return build(folder(name))


def built(name: str) -> list[Object]:
    """Return the objects of the base or an overlay."""
    return objects(_built(name))


def test_each_component_has_an_overlay_and_is_documented() -> None:
    assert OVERLAYS == ["dashboards", "managed-prometheus", "operator", "sharded", "workload-identity"]
    assert sorted(path.parent.name for path in KUBERNETES.glob("components/*/kustomization.yaml")) == OVERLAYS
    assert set(re.findall(r"^\| `components/([\w-]+)` \|", PAGE.read_text(), re.MULTILINE)) == set(OVERLAYS)


@each_output
def test_both_versions_of_kubectl_build_the_same(name: str) -> None:
    for version in KUBECTL_VERSIONS[:-1]:
        assert build(folder(name), version) == _built(name)


@each_output
def test_objects_match_their_schemas_and_selectors_the_pods(name: str) -> None:
    found = built(name)
    assert [problem for item in found for problem in problems(item)] == []
    assert [*selector_problems(found), *version_labels(found)] == []
    assert len({named(item) for item in found}) == len(found)
    assert not any("namespace" in item["metadata"] for item in found), "the user chooses the namespace"


def test_base_contains_what_the_exporter_needs() -> None:
    assert sorted(item["kind"] for item in built("base")) == [
        "ConfigMap",
        "Deployment",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
        "Service",
        "ServiceAccount",
    ]


@each_output
def test_flags_and_configuration_are_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = built(name)
    (config,) = (item for item in of_kind(found, "ConfigMap") if "config.yaml" in item["data"])
    (tmp_path / "config.yaml").write_text(config["data"]["config.yaml"])
    assert load(tmp_path / "config.yaml").targets
    monkeypatch.setenv("POD_NAME", f"{workload(found)['metadata']['name']}-2")
    options = parse_flags(container(found)["args"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container(found)["volumeMounts"]}
    assert str(options.config_file) == f"{mounts['config']}/config.yaml"
    assert options.state_path.parent == Path(mounts["state"]), "a subfolder, which the exporter creates with mode 0700"


@each_output
def test_image_has_the_version_of_the_program(name: str) -> None:
    assert container(built(name))["image"] == f"{IMAGE}:{__version__}"


@each_output
def test_probes_use_the_health_address(name: str) -> None:
    exporter = container(built(name))
    ports = {port["name"]: port["containerPort"] for port in exporter["ports"]}
    assert f"--web.health-address=:{ports['health']}" in exporter["args"]
    probes = {kind: exporter[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")}
    assert probes == {
        "startup": {"path": "/-/healthy", "port": "health"},
        "liveness": {"path": "/-/healthy", "port": "health"},
        "readiness": {"path": "/-/ready", "port": "health"},
    }


@each_output
def test_pods_meet_the_restricted_security_standard(name: str) -> None:
    found = built(name)
    spec = workload(found)["spec"]["template"]["spec"]
    assert restricted_problems(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert of_kind(found, "ServiceAccount")[0]["automountServiceAccountToken"] is False
    assert spec["securityContext"]["fsGroup"] == spec["securityContext"]["runAsUser"] == 10853
    assert container(found)["securityContext"]["readOnlyRootFilesystem"] is True
    assert container(found)["resources"].keys() == {"requests", "limits"}


def restricted_problems(pod: Object) -> list[str]:
    """Return violations of the restricted Pod Security Standard, as far as they concern fields that are used here."""
    found = []
    if not pod["securityContext"].get("runAsNonRoot") or pod["securityContext"].get("runAsUser") == 0:
        found.append("may run as root")
    if pod["securityContext"].get("seccompProfile", {}).get("type") != "RuntimeDefault":
        found.append("seccompProfile")
    found += [key for key in ("hostNetwork", "hostPID", "hostIPC") if pod.get(key)]
    kinds = {"configMap", "secret", "emptyDir", "persistentVolumeClaim", "projected"}
    found += [f"volume {volume['name']}" for volume in pod["volumes"] if not volume.keys() & kinds]
    for item in pod["containers"]:
        context = item["securityContext"]
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            found.append("privileges")
        if context.get("capabilities") != {"drop": ["ALL"]}:
            found.append("capabilities")
    return found


@each_output
def test_disruption_budget_allows_eviction(name: str) -> None:
    (budget,) = of_kind(built(name), "PodDisruptionBudget")
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow", "a pod that never got ready blocks a drain"


def test_deployment_replaces_its_only_pod() -> None:
    deployment = workload(built("base"))["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    (claim,) = of_kind(built("base"), "PersistentVolumeClaim")
    volumes = {volume["name"]: volume for volume in deployment["template"]["spec"]["volumes"]}
    assert volumes["state"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]


# The documentation: a kustomization, and patches for it.


def kustomizations() -> list[Object]:
    """Return the kustomization of docs/installation/kubernetes.md, alone and with each of the patches there."""
    blocks = re.findall(r"^ *```yaml\n(.*?)```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    documents = [yaml.safe_load(block) for block in blocks]
    (complete,) = (document for document in documents if "resources" in document)
    return [complete, *({**complete, **document} for document in documents if "patches" in document)]


def build_documented(kustomization: Object, folder: Path) -> list[Object]:
    """Return the objects of a kustomization beside a clone of this repository."""
    for part in ("deploy/kubernetes", "grafana"):
        shutil.copytree(ROOT / part, folder / "cloudsql-backup-exporter" / part)
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    (folder / "config.yaml").write_text("targets: [{project: shop-prod}]\n")
    found = objects(build(folder))
    assert [problem for item in found for problem in problems(item)] == []
    assert [*selector_problems(found)] == []
    return found


def components(*names: str) -> Object:
    return {"components": [f"cloudsql-backup-exporter/deploy/kubernetes/components/{name}" for name in names]}


def test_documented_kustomization_replaces_configuration_and_image(tmp_path: Path) -> None:
    found = build_documented(kustomizations()[0], tmp_path)
    (config,) = of_kind(found, "ConfigMap")
    assert config["data"]["config.yaml"] == "targets: [{project: shop-prod}]\n"
    assert config["metadata"]["name"] != of_kind(built("base"), "ConfigMap")[0]["metadata"]["name"]
    volumes = workload(found)["spec"]["template"]["spec"]["volumes"]
    assert volumes[0]["configMap"]["name"] == config["metadata"]["name"], "a change starts new pods"
    assert container(found)["image"] == f"REGISTRY/cloudsql-backup-exporter:{__version__}"
    assert of_kind(found, "PodMonitoring")


def test_documented_patches_have_their_effect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, labels, web, shards = kustomizations()
    found = build_documented(labels | components("operator", "dashboards"), tmp_path / "labels")
    for kind in ("ServiceMonitor", "PrometheusRule"):
        assert of_kind(found, kind)[0]["metadata"]["labels"]["release"] == "kube-prometheus-stack"
    found = build_documented(web, tmp_path / "web")
    assert parse_flags(container(found)["args"]).web_config_file == Path("/etc/web/web.yml")
    found = build_documented(shards | components("sharded", "operator", "workload-identity"), tmp_path / "shards")
    monkeypatch.setenv("POD_NAME", f"{workload(found)['metadata']['name']}-4")
    shard = parse_flags(container(found)["args"]).shard
    assert (shard.index, shard.total, workload(found)["spec"]["replicas"]) == (4, 5, 5)


def test_operator_and_managed_prometheus_get_the_shipped_rules() -> None:
    (rules,) = rule_groups(built("operator"))
    assert rules == SHIPPED_GROUPS
    (rules,) = rule_groups(built("managed-prometheus"))
    expected = copy.deepcopy(SHIPPED_GROUPS)
    for rule in (rule for group in expected for rule in group["rules"]):
        rule.pop("keep_firing_for", None)
    assert rules == expected


@pytest.mark.parametrize("name", ["operator", "managed-prometheus"])
def test_promtool_accepts_the_rules(name: str, tmp_path: Path) -> None:
    (groups,) = rule_groups(built(name))
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": groups}))
    command = ["promtool", "check", "rules", str(tmp_path / "rules.yml")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed)
    assert process.returncode == 0, process.stderr


def test_generated_files_are_up_to_date() -> None:
    generated = manifests.files()
    assert {file: file.read_text(encoding="utf-8") for file in generated} == generated, "run `make manifests`"
    assert {*manifests.CHART_FILES.glob("**/*.*")} <= generated.keys(), "run `make manifests`"


def test_shards_are_pods_of_a_stateful_set_with_a_volume_each(monkeypatch: pytest.MonkeyPatch) -> None:
    found = built("sharded")
    stateful_set = workload(found)
    replicas = stateful_set["spec"]["replicas"]
    for index in range(replicas):
        monkeypatch.setenv("POD_NAME", f"{stateful_set['metadata']['name']}-{index}")
        shard = parse_flags(container(found)["args"]).shard
        assert (shard.index, shard.total) == (index, replicas)
    headless = {service["metadata"]["name"] for service in of_kind(found, "Service") if "clusterIP" in service["spec"]}
    assert stateful_set["spec"]["serviceName"] in headless
    (claim,) = stateful_set["spec"]["volumeClaimTemplates"]
    (base_claim,) = of_kind(built("base"), "PersistentVolumeClaim")
    assert claim["spec"] == base_claim["spec"]
    assert of_kind(found, "PersistentVolumeClaim") == []


def test_shards_and_deployment_have_the_same_pods() -> None:
    pods, sharded_pods = (copy.deepcopy(workload(built(name))["spec"]["template"]) for name in ("base", "sharded"))
    args = sharded_pods["spec"]["containers"][0]["args"]
    assert [arg for arg in args if not arg.startswith("--shard.")] == pods["spec"]["containers"][0].pop("args")
    del sharded_pods["spec"]["containers"][0]["args"]
    pods["spec"]["volumes"] = [volume for volume in pods["spec"]["volumes"] if volume["name"] != "state"]
    assert sharded_pods == pods


def test_workload_identity_sets_the_annotation() -> None:
    (account,) = of_kind(built("workload-identity"), "ServiceAccount")
    assert account["metadata"]["annotations"].keys() == {"iam.gke.io/gcp-service-account"}


def test_dashboards_are_those_of_grafana() -> None:
    contents = {
        name: text
        for item in of_kind(built("dashboards"), "ConfigMap")
        if item["metadata"]["labels"].get("grafana_dashboard") == "1"
        for name, text in item["data"].items()
    }
    assert contents == {file.name: file.read_text(encoding="utf-8") for file in DASHBOARDS}


def _set(kind: str, value: object, *path: str | int) -> Callable[[list[Object]], None]:
    def plant(found: list[Object]) -> None:
        target: Any = of_kind(found, kind)[0]
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return plant


RULE = ("spec", "groups", 0, "rules", -1)
ENDPOINT = ("spec", "endpoints", 0)
DEFECTS = {
    "misspelt key of a built-in kind": ("base", _set("Deployment", 1, "spec", "replica")),
    "wrong type in a built-in kind": ("base", _set("Service", "http", "spec", "ports", 0, "port")),
    "field that is newer than the oldest version": (
        "base",
        _set("Deployment", {}, "spec", "template", "spec", "containers", 0, "restartPolicyRules"),
    ),
    "unknown kind": ("base", _set("Deployment", "Deploymint", "kind")),
    "misspelt key for Prometheus Operator": ("operator", _set("ServiceMonitor", "30s", *ENDPOINT, "intervall")),
    "wrong type for Prometheus Operator": ("operator", _set("PrometheusRule", {"severity": 1}, *RULE, "labels")),
    "unknown field of a rule": ("managed-prometheus", _set("ClusterRules", "10m", *RULE, "keep_firing_for")),
    "reserved label": ("managed-prometheus", _set("ClusterRules", {"cluster": "a"}, *RULE, "labels")),
    "namespace of a cluster-scoped object": ("managed-prometheus", _set("ClusterRules", "a", "metadata", "namespace")),
    "time-out beyond the interval": ("managed-prometheus", _set("PodMonitoring", "2m", *ENDPOINT, "timeout")),
    "honorLabels": ("managed-prometheus", _set("PodMonitoring", True, *ENDPOINT, "honorLabels")),
    "relabeling onto a reserved label": (
        "managed-prometheus",
        _set("PodMonitoring", [{"targetLabel": "project_id"}], *ENDPOINT, "metricRelabeling"),
    ),
    "no endpoint": ("managed-prometheus", _set("PodMonitoring", [], "spec", "endpoints")),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_schemas_detect_a_defect(defect: str) -> None:
    name, plant = DEFECTS[defect]
    found = built(name)
    plant(found)
    assert [problem for item in found for problem in problems(item)] != []


SELECTOR_DEFECTS = {
    "disruption budget without selector": _set("PodDisruptionBudget", {}, "spec", "selector"),
    "policy for every pod of the namespace": _set("NetworkPolicy", {}, "spec", "podSelector"),
    "Service for other pods": _set("Service", {"app": "other"}, "spec", "selector"),
    "scrape through the Service": _set("ServiceMonitor", {}, "spec", "selector", "matchLabels"),
}


@pytest.mark.parametrize("defect", SELECTOR_DEFECTS)
def test_wrong_selectors_are_detected(defect: str) -> None:
    found = built("operator")
    SELECTOR_DEFECTS[defect](found)
    assert len([*selector_problems(found)]) == 1


def test_version_in_a_selector_is_detected() -> None:
    found = built("base")
    _set("Deployment", "1", "spec", "selector", "matchLabels", "app.kubernetes.io/version")(found)
    assert [*version_labels(found)] == ["Deployment/cloudsql-backup-exporter: version"]


def test_unrestricted_pod_is_detected() -> None:
    pod = workload(built("base"))["spec"]["template"]["spec"]
    pod["hostNetwork"] = True
    pod["volumes"].append({"name": "host", "hostPath": {"path": "/"}})
    pod["securityContext"] = {"runAsUser": 0}
    pod["containers"][0]["securityContext"] = {}
    assert restricted_problems(pod) == [
        *("may run as root", "seccompProfile", "hostNetwork", "volume host", "privileges", "capabilities"),
    ]


def test_custom_resources_are_those_of_google() -> None:
    found = built("managed-prometheus")
    assert {item["kind"] for item in found if item["apiVersion"] == GOOGLE} == {"ClusterRules", "PodMonitoring"}
