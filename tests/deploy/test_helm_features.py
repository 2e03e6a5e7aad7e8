"""The features of the Helm chart, one by one."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter import __version__
from exporter.cli.flags import parse_flags
from tests.support.chart import CHART, NAME, VALUES, one, output, render, rendered, run_helm, values_file
from tests.support.kubernetes import container, named, objects, of_kind, selector_problems, workload


def test_two_releases_fit_into_one_namespace(tmp_path: Path) -> None:
    everything = {
        **{key: {"enabled": True} for key in ("dashboards", "podMonitoring", "prometheusRule", "rules")},
        "serviceMonitor": {"enabled": True},
        "sharding": {"shards": 2},
        "web": {"config": {"basic_auth_users": {}}},
    }
    prefix = "a-release-name-as-long-as-helm-allows-it-to-be-here-"
    flag = values_file(tmp_path, everything)
    outputs = [objects(render(flag, release=f"{prefix}{number}")) for number in (1, 2)]
    names = [{named(item) for item in found} for found in outputs]
    assert len(names[0]) == len(outputs[0])
    assert names[0] & names[1] == set()
    for found in outputs:
        assert len(workload(found)["metadata"]["name"]) == 52
        assert [*selector_problems(found)] == []
    selectors = [workload(found)["spec"]["selector"]["matchLabels"] for found in outputs]
    assert selectors[0] != selectors[1]


def test_cluster_scoped_names_contain_the_namespace() -> None:
    assert one(rendered("rules"), "ClusterRules")["metadata"]["name"] == f"monitoring-{NAME}"
    assert one(rendered("rules-namespaced"), "Rules")["metadata"]["name"] == NAME


def test_common_labels_are_on_every_object_and_in_no_selector() -> None:
    found = rendered("names")
    assert {item["metadata"]["labels"].get("owner") for item in found} == {"databases"}
    assert {item["metadata"].get("namespace") for item in found if item["kind"] != "ClusterRules"} == {"databases"}
    assert "owner" not in workload(found)["spec"]["selector"]["matchLabels"]
    assert "owner" not in workload(found)["spec"]["volumeClaimTemplates"][0]["metadata"]["labels"]


def test_custom_resources_are_off_by_default() -> None:
    built_in = ("v1", "apps/v1", "policy/v1", "networking.k8s.io/v1")
    assert [item["kind"] for item in rendered("default") if item["apiVersion"] not in built_in] == []


def test_shards_are_pods_of_a_stateful_set_with_a_volume_each(monkeypatch: pytest.MonkeyPatch) -> None:
    found = rendered("sharding")
    spec = one(found, "StatefulSet")["spec"]
    for index in range(3):
        monkeypatch.setenv("POD_NAME", f"{NAME}-{index}")
        shard = parse_flags(container(found)["args"]).shard
        assert (shard.index, shard.total, shard.by) == (index, spec["replicas"], "project")
    headless = [service for service in of_kind(found, "Service") if service["spec"].get("clusterIP") == "None"]
    assert [service["metadata"]["name"] for service in headless] == [spec["serviceName"]]
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["state"]
    assert of_kind(found, "Deployment") + of_kind(found, "PersistentVolumeClaim") == []
    assert "--shard.by=instance" in container(rendered("sharding-by-instance"))["args"]
    assert "volumeClaimTemplates" not in one(rendered("sharding-by-instance"), "StatefulSet")["spec"]


def test_web_configuration_is_a_secret_and_probes_avoid_it() -> None:
    found = rendered("web-config")
    secret = one(found, "Secret")
    values = yaml.safe_load(VALUES["web-config"].read_text())
    assert yaml.safe_load(secret["stringData"]["web.yml"]) == values["web"]["config"]
    volumes = {volume["name"]: volume for volume in workload(found)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["web-config"]["secret"]["secretName"] == secret["metadata"]["name"]
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        request = container(found)[probe]["httpGet"]
        assert request["port"] == "health"
        assert "scheme" not in request
    endpoint = one(found, "ServiceMonitor")["spec"]["endpoints"][0]
    assert endpoint["scheme"] == "https"
    assert one(rendered("service-monitor"), "ServiceMonitor")["spec"]["endpoints"][0]["honorLabels"] is True
    assert one(rendered("sharding"), "ServiceMonitor")["spec"]["endpoints"][0]["scheme"] == "http"


def test_existing_secrets_replace_configuration_and_web_configuration() -> None:
    found = rendered("existing-secret")
    template = workload(found)["spec"]["template"]
    assert template["spec"]["volumes"][0] == {"name": "config", "secret": {"secretName": "exporter-configuration"}}
    assert of_kind(found, "ConfigMap") == []
    found = rendered("web-existing-secret")
    volumes = {volume["name"]: volume for volume in workload(found)["spec"]["template"]["spec"]["volumes"]}
    assert volumes["web-config"] == {"name": "web-config", "secret": {"secretName": "exporter-web"}}
    assert of_kind(found, "Secret") == []
    assert one(found, "PodMonitoring")["spec"]["endpoints"][0]["scheme"] == "https"


def test_change_of_the_configuration_starts_new_pods() -> None:
    sums = {
        workload(rendered(name))["spec"]["template"]["metadata"]["annotations"]["checksum/config"]
        for name in ("default", "config", "config-text", "key-file")
    }
    assert len(sums) == 4


def test_configuration_keeps_numbers_and_text() -> None:
    config = yaml.safe_load(one(rendered("config"), "ConfigMap")["data"]["config.yaml"])
    assert config == yaml.safe_load(VALUES["config"].read_text())["config"]
    text = yaml.safe_load(VALUES["config-text"].read_text())["config"]
    assert one(rendered("config-text"), "ConfigMap")["data"]["config.yaml"].strip() == text.strip()


def test_image_by_registry_and_digest() -> None:
    image = yaml.safe_load(VALUES["image"].read_text())["image"]
    assert container(rendered("image"))["image"] == f"{image['registry']}/{image['repository']}@{image['digest']}"
    assert container(rendered("image-tag"))["image"].endswith("/my-project/monitoring/cloudsql-backup-exporter:0.1.0-2")
    secrets = workload(rendered("image"))["spec"]["template"]["spec"]["imagePullSecrets"]
    assert secrets == [{"name": "parent-registry"}, {"name": "registry"}]


def test_values_of_pods_reach_the_pod_template() -> None:
    values = yaml.safe_load(VALUES["pod"].read_text())
    deployment = one(rendered("pod"), "Deployment")
    template = deployment["spec"]["template"]
    for key in ("nodeSelector", "tolerations", "affinity", "topologySpreadConstraints", "hostAliases", "dnsConfig"):
        assert template["spec"][key] == values[key]
    for key in ("priorityClassName", "dnsPolicy", "terminationGracePeriodSeconds"):
        assert template["spec"][key] == values[key]
    assert template["metadata"]["labels"]["owner"] == "databases"
    assert template["metadata"]["annotations"]["example.com/owner"] == "databases"
    assert deployment["metadata"]["annotations"] == values["annotations"]
    assert deployment["spec"]["template"]["spec"]["containers"][0]["resources"] == values["resources"]


def test_extra_values_are_added() -> None:
    values = yaml.safe_load(VALUES["extra"].read_text())
    pod, exporter = workload(rendered("extra"))["spec"]["template"]["spec"], container(rendered("extra"))
    assert set(values["extraArgs"]) | {"--log.level=debug", "--log.format=json"} <= set(exporter["args"])
    assert exporter["env"][1:] == values["extraEnv"]
    assert exporter["envFrom"] == values["extraEnvFrom"]
    assert exporter["volumeMounts"][-1:] == values["extraVolumeMounts"]
    assert pod["volumes"][-1:] == values["extraVolumes"]
    assert pod["containers"][1:] == values["extraContainers"]
    assert pod["initContainers"] == values["extraInitContainers"]


def test_extra_manifests_are_templates() -> None:
    data = {item["metadata"]["name"]: item["data"] for item in of_kind(rendered("extra-manifests"), "ConfigMap")}
    assert data[f"{NAME}-extra"] == {"release": NAME}
    assert data[f"{NAME}-text"] == {"version": __version__}


def test_probes_can_be_replaced() -> None:
    exporter = container(rendered("probes"))
    assert "startupProbe" not in exporter
    assert exporter["livenessProbe"]["tcpSocket"] == {"port": "http"}
    assert "httpGet" not in exporter["livenessProbe"]
    assert exporter["readinessProbe"]["httpGet"]["httpHeaders"] == [{"name": "X-Probe", "value": "readiness"}]


def test_features_can_be_disabled() -> None:
    found = rendered("network-policy-disabled")
    assert of_kind(found, "NetworkPolicy") + of_kind(found, "PodDisruptionBudget") == []
    assert "from" not in one(rendered("network-policy-open"), "NetworkPolicy")["spec"]["ingress"][0]
    volumes = workload(rendered("persistence-disabled"))["spec"]["template"]["spec"]["volumes"]
    assert {"name": "state", "emptyDir": {}} in volumes


def test_documented_values_are_accepted(tmp_path: Path) -> None:
    page = (CHART.parents[2] / "docs" / "installation" / "helm.md").read_text()
    google, operator = (yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL))
    kinds = {item["kind"] for item in objects(render(values_file(tmp_path, google)))}
    assert kinds >= {"PodMonitoring", "ClusterRules"}
    kinds = {item["kind"] for item in objects(render(values_file(tmp_path, operator)))}
    assert kinds >= {"ServiceMonitor", "PrometheusRule"}


def notes(folder: Path, values: Mapping[str, Any]) -> str:
    """Return the text that Helm prints after an installation."""
    process = run_helm(
        "install", NAME, CHART, "--namespace=monitoring", "--dry-run=client", values_file(folder, values)
    )
    assert process.returncode == 0, process.stderr
    return process.stdout.partition("NOTES:\n")[2]


def test_notes_name_what_is_missing(tmp_path: Path) -> None:
    text = notes(tmp_path, {"persistence": {"enabled": False}})
    for expected in ("my-project", "Nothing scrapes the exporter yet", "no alerts yet", "WARNING: persistence"):
        assert expected in text
    assert "subject/ns/monitoring/sa/cloudsql-backup-exporter" in text
    complete = {
        "config": {"targets": [{"project": "shop-prod"}]},
        "web": {"grafanaUrl": "https://grafana.shop.example", "config": {"tls_server_config": {"cert_file": "a"}}},
        "runbooksUrl": "https://runbooks.shop.example",
        "podMonitoring": {"enabled": True},
        "rules": {"enabled": True},
        "serviceAccount": {"annotations": {"iam.gke.io/gcp-service-account": "a@b.iam.gserviceaccount.com"}},
    }
    text = notes(tmp_path, complete)
    for unexpected in ("my-project", "WARNING", "yet", "example.com", "principal://"):
        assert unexpected not in text
    assert "https://localhost:10853/" in text
    assert '--member="serviceAccount:CLUSTER_PROJECT.svc.id.goog[monitoring/cloudsql-backup-exporter]"' in text


def test_secret_of_the_web_configuration_is_not_in_the_config_map() -> None:
    text = json.dumps([item for item in rendered("web-config") if item["kind"] != "Secret"])
    hashed = "$2y$10$P8ztq4W10vXZ6J5fAFkGPeD3sBBtLj3bCzDbnA3fQQ2ZTUQZ9Z0Iy"
    assert hashed not in text
    assert base64.b64encode(hashed.encode()).decode() not in text


def test_urls_replace_the_examples() -> None:
    text = output("urls")
    assert "example.com/d/" not in text
    assert "runbooks.example.com" not in text
    assert "https://grafana.shop.example/d/cloudsql-backup-fleet" in text
    assert "https://runbooks.shop.example/backups/CloudSQLBackupStale.md" in text
    found = rendered("urls")
    for kind in ("ServiceMonitor", "PodMonitoring"):
        assert one(found, kind)["spec"]["endpoints"][0]["path"] == "/backups/metrics"
