"""The Helm chart: linted and rendered by two versions of Helm, checked like the Kubernetes manifests."""

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from exporter import __version__
from exporter.cli.flags import parse_flags
from exporter.config import load
from tests.support.chart import CHART, NAME, VALUES, output, render_all, rendered, run_helm, values_file
from tests.support.comparison import missing_paths
from tests.support.dashboards import FILES as DASHBOARDS
from tests.support.deploy_tools import HELM_VERSIONS, checkov, kubectl
from tests.support.kubernetes import (
    CLUSTER_SCOPED,
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

DEPLOY = RULES.parents[1]
SHIPPED_GROUPS = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
each_file = pytest.mark.parametrize("name", VALUES)


@pytest.fixture(scope="module", autouse=True)
def _rendered() -> None:
    render_all()


@pytest.mark.parametrize("version", HELM_VERSIONS)
def test_lint_accepts_the_chart_with_every_values_file(version: str) -> None:
    def lint(file: Path) -> str:
        process = run_helm("lint", "--strict", CHART, f"--values={file}", version=version)
        return "" if process.returncode == 0 else f"{file.name}: {process.stdout}{process.stderr}"

    with ThreadPoolExecutor(2) as pool:
        assert [report for report in pool.map(lint, VALUES.values()) if report] == []


def test_lint_refuses_an_invalid_name() -> None:
    assert run_helm("lint", "--strict", CHART, "--set=fullnameOverride=Not_a_name").returncode != 0


@each_file
def test_versions_of_helm_render_the_same(name: str) -> None:
    def by_name(found: list[Object]) -> dict[str, Object]:
        return {named(item): item for item in found}

    outputs = [by_name(rendered(name, version)) for version in HELM_VERSIONS]
    assert outputs[0] == outputs[1]


@each_file
def test_objects_match_their_schemas_and_selectors_the_pods(name: str) -> None:
    found = rendered(name)
    assert [problem for item in found for problem in problems(item)] == []
    assert [*selector_problems(found), *version_labels(found)] == []
    assert len({named(item) for item in found}) == len(found)


@each_file
def test_flags_and_configuration_are_valid(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = rendered(name)
    for config in of_kind(found, "ConfigMap"):
        if "config.yaml" in config["data"]:
            text = config["data"]["config.yaml"].replace("/etc/google/key.json", "key.json")
            (tmp_path / "config.yaml").write_text(text)
            assert load(tmp_path / "config.yaml").targets
    monkeypatch.setenv("POD_NAME", f"{workload(found)['metadata']['name']}-1")
    options = parse_flags(container(found)["args"])
    mounted = {mount["mountPath"] for mount in container(found)["volumeMounts"]}
    assert str(options.config_file.parent) in mounted
    assert {str(options.state_path.parent)} <= mounted
    assert options.web_config_file is None or str(options.web_config_file.parent) in mounted


def test_checks_of_every_file_cover_all_kinds() -> None:
    kinds = {(item["apiVersion"], item["kind"]) for name in VALUES for item in rendered(name)}
    templates = "".join(file.read_text() for file in CHART.glob("templates/*.yaml"))
    literal = re.findall(r"^apiVersion: ([\w./]+)\nkind: (\w+)$", templates, re.MULTILINE)
    assert len(literal) > 10
    assert set(literal) <= kinds
    assert {kind for _, kind in kinds} >= {"StatefulSet", "ServiceMonitor", "ClusterRules", "Rules", "GlobalRules"}


# Values, their schema and their examples.


def leaves(values: Object, at: str = "") -> Iterator[str]:
    """Yield the paths of values, down to the first that is no object or an empty one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{at}{key}.")
        else:
            yield f"{at}{key}"


# Values whose form is that of Kubernetes or of the exporter: not every key needs an example.
FOREIGN = ("config.", "strategy.", "resources.", "podSecurityContext.", "securityContext.")
PROBES = ("startupProbe.", "livenessProbe.", "readinessProbe.")


def test_every_value_has_an_example_in_ci() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    used: set[str] = set()
    for file in VALUES.values():
        for leaf in leaves(yaml.safe_load(file.read_text())):
            parts = leaf.split(".")
            used |= {".".join(parts[:i]) for i in range(1, len(parts) + 1)}
    without = {leaf for leaf in leaves(defaults) if leaf not in used and not leaf.startswith((*FOREIGN, *PROBES))}
    assert without == set()


def test_schema_lists_exactly_the_values() -> None:
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(values: Object, part: Object, at: str) -> Iterator[str]:
        if part.get("additionalProperties") is False:
            assert values.keys() == part["properties"].keys(), at
            for key, value in values.items():
                yield f"{at}{key}"
                if isinstance(value, dict):
                    yield from compare(value, part["properties"][key], f"{at}{key}.")

    assert len([*compare(defaults, schema, "")]) > 150


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"replicas": 2}, "replicas"),
        ({"image": {"tagg": "1"}}, "tagg"),
        ({"sharding": {"shards": 0}}, "/sharding/shards"),
        ({"sharding": {"shards": "3"}}, "/sharding/shards"),
        ({"sharding": {"by": "team"}}, "/sharding/by"),
        ({"image": {"digest": "0123"}}, "/image/digest"),
        ({"serviceMonitor": {"interval": "often"}}, "/serviceMonitor/interval"),
        ({"rules": {"kind": "PrometheusRule"}}, "/rules/kind"),
        ({"ingress": {"hosts": [{"hostname": "a"}]}}, "/ingress/hosts/0"),
        ({"extraArgs": "--log.level=debug"}, "/extraArgs"),
        ({"sharding": {"shards": 2}, "persistence": {"existingClaim": "a"}}, "persistence.existingClaim: each shard"),
        ({"web": {"config": {"rate_limit": {}}, "existingSecret": "a"}}, "web.config and web.existingSecret are both"),
        ({"ingress": {"enabled": True}}, "ingress.hosts: at least one host is needed"),
        ({"route": {"enabled": True}}, "route.parentRefs: at least one Gateway is needed"),
    ],
)
def test_invalid_values_are_refused_with_their_key(tmp_path: Path, values: Object, message: str) -> None:
    process = run_helm("template", NAME, CHART, values_file(tmp_path, values))
    assert process.returncode != 0
    assert message in process.stderr


def test_chart_has_the_version_of_the_program_and_complete_metadata() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
    assert container(rendered("default"))["image"].endswith(f":{__version__}")
    assert {"version", "kubeVersion", "home", "sources", "maintainers", "description"} <= chart.keys()
    assert run_helm("template", CHART, "--kube-version=1.26.0").returncode != 0
    assert run_helm("template", CHART, "--kube-version=1.27.0-gke.100").returncode == 0


def test_package_contains_what_it_needs(tmp_path: Path) -> None:
    process = run_helm("package", CHART, f"--destination={tmp_path}")
    assert process.returncode == 0, process.stderr
    (archive,) = tmp_path.glob("*.tgz")
    shown = run_helm("template", NAME, archive, "--namespace=monitoring", f"--values={VALUES['urls']}")
    assert objects(shown.stdout) == rendered("urls")


# Agreement with the kustomize base, and the generated content.


def test_chart_and_kustomize_base_agree() -> None:
    base = subprocess.run([kubectl(), "kustomize", DEPLOY / "kubernetes" / "base"], capture_output=True, check=True)  # noqa: S603 (fixed)
    chart, kustomized = (comparable(found) for found in (rendered("default"), objects(base.stdout.decode())))
    assert chart.keys() == kustomized.keys()
    assert {key: missing_paths(kustomized[key], chart[key]) for key in kustomized} == {key: [] for key in kustomized}


def comparable(found: list[Object]) -> dict[str, Object]:
    """Return objects by name, in one order, without the names and annotations that follow from content."""
    text = json.dumps(found)
    text = re.sub(rf"({NAME}-config)-\w{{10}}\b", r"\1", text)
    by_name = {named(item): item for item in json.loads(text)}
    for policy in (item for item in by_name.values() if item["kind"] == "NetworkPolicy"):
        policy["spec"]["ingress"].sort(key=lambda rule: str(rule["ports"]))
    for config in (item for item in by_name.values() if item["kind"] == "ConfigMap"):
        config["data"] = {name: yaml.safe_load(content) for name, content in config["data"].items()}
    return by_name


def test_disagreement_is_detected() -> None:
    chart, changed = comparable(rendered("default")), comparable(rendered("default"))
    container([*changed.values()])["args"].append("--log.level=debug")
    found = missing_paths(changed[f"Deployment/{NAME}"], chart[f"Deployment/{NAME}"])
    assert found == [".spec.template.spec.containers[0].args"]


def test_rules_are_the_shipped_ones() -> None:
    (operator,) = rule_groups(rendered("prometheus-rule"))
    assert operator[:-1] == SHIPPED_GROUPS
    managed = json.dumps(SHIPPED_GROUPS)
    managed = re.sub(r', "keep_firing_for": "\w+"', "", managed)
    for name in ("rules-namespaced", "rules-global"):
        (groups,) = rule_groups(rendered(name))
        assert groups == json.loads(managed)
    (groups,) = rule_groups(rendered("rules"))
    assert [group["name"] for group in groups] == ["cloudsql-backup", "own"]


def test_promtool_accepts_the_rules(tmp_path: Path) -> None:
    different = {json.dumps(groups) for name in VALUES for groups in rule_groups(rendered(name))}
    files = [tmp_path / f"{number}.yml" for number in range(len(different))]
    for file, groups in zip(files, different, strict=True):
        file.write_text(f'{{"groups": {groups}}}')
    process = subprocess.run(["promtool", "check", "rules", *files], capture_output=True, text=True, check=False)  # noqa: S603, S607
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("SUCCESS") == len(different) >= 5


def test_dashboards_are_those_of_grafana() -> None:
    contents = {file: text for item in dashboards("dashboards") for file, text in item["data"].items()}
    assert contents == {file.name: file.read_text(encoding="utf-8") for file in DASHBOARDS}
    assert {item["metadata"]["namespace"] for item in dashboards("dashboards")} == {"grafana"}


def dashboards(name: str) -> list[Object]:
    return [item for item in rendered(name) if "grafana_dashboard" in item["metadata"]["labels"]]


# Each failure of checkov in the manifests and the chart, with the reason for which it stays.
CHECKOV_EXCEPTIONS = {
    "CKV_K8S_11": "a limit of CPU would delay scrapes by throttling; requests and the limit of memory are set",
    "CKV_K8S_15": "tags of releases are not moved, and a node that cannot reach the registry can still start the pod",
    "CKV_K8S_21": "the user chooses the namespace of the manifests",
    "CKV_K8S_43": "users build the image themselves, so that no digest is known; image.digest sets it",
}
UNSAFE_POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "unsafe", "namespace": "monitoring"},
    "spec": {"containers": [{"name": "a", "image": "a:1", "securityContext": {"privileged": True}}]},
}


def test_checkov_finds_only_the_exceptions(tmp_path: Path) -> None:
    base = subprocess.run([kubectl(), "kustomize", DEPLOY / "kubernetes" / "base"], capture_output=True, check=True)  # noqa: S603 (fixed)
    (tmp_path / "base.yaml").write_bytes(base.stdout)
    for name in ("default", "sharding", "web-config", "urls", "ingress"):
        (tmp_path / f"{name}.yaml").write_text(output(name))
    (tmp_path / "unsafe.yaml").write_text(json.dumps(UNSAFE_POD))
    flags = ("--framework=kubernetes", "--skip-download", "--quiet", "--compact", "--output=json")
    command: list[str | Path] = [checkov(), "--directory", tmp_path, *flags]
    process = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (fixed)
    failed: dict[bool, set[str]] = {True: set(), False: set()}
    for check in json.loads(process.stdout)["results"]["failed_checks"]:
        failed[check["resource"].endswith(".unsafe")].add(check["check_id"])
    assert failed[False] == CHECKOV_EXCEPTIONS.keys()
    assert "CKV_K8S_16" in failed[True], "a privileged container"


@each_file
def test_names_fit_their_limits(name: str) -> None:
    for item in rendered(name):
        limit = {"StatefulSet": 52, "Deployment": 63, "Service": 63}.get(item["kind"], 253)
        assert len(item["metadata"]["name"]) <= limit
        cluster_scoped = (item["apiVersion"], item["kind"]) in CLUSTER_SCOPED
        labels = item["metadata"].get("labels", {})
        assert all(len(str(value)) <= 63 for value in labels.values())
        if "helm.sh/chart" in labels:
            assert ("namespace" not in item["metadata"]) == cluster_scoped
