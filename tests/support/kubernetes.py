"""Kubernetes objects: read from YAML, and checked against schemas.

No API server is available to the tests. Built-in kinds are checked against the schemas of Kubernetes, those of
Prometheus Operator against its models. No package has the schemas of the other custom resources: their fields are
listed here, as far as the manifests could use them.
"""

import importlib
import json
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from pydantic import ValidationError

from tests.support.comparison import missing_paths

Object = dict[str, Any]
KUBERNETES_VERSIONS = ("1.27", "1.37")  # the oldest that the chart supports, and the newest with schemas
OPERATOR = "monitoring.coreos.com/v1"
GOOGLE = "monitoring.googleapis.com/v1"

# Target labels of Managed Service for Prometheus: neither rules nor relabeling may set them.
# Source: pkg/operator/apis/monitoring/v1/pod_config.go of GoogleCloudPlatform/prometheus-engine.
RESERVED_LABELS = {"project_id", "location", "cluster", "namespace", "job", "instance", "__address__"}

ANY = object()  # a value of any form


def _any(names: str) -> Object:
    return dict.fromkeys(names.split(), ANY)


_SECRET = {"secret": _any("name key namespace")}
_GOOGLE_RULES = {
    "groups": [{**_any("name interval"), "rules": [_any("alert annotations expr for labels record")]}],
}
_POD_MONITORING = {
    "selector": _any("matchLabels matchExpressions"),
    "endpoints": [
        {
            **_any("port scheme path params proxyUrl interval timeout"),
            "tls": {
                **dict.fromkeys(("ca", "cert", "key"), _SECRET),
                **_any("insecureSkipVerify maxVersion minVersion serverName"),
            },
            "basicAuth": {"username": ANY, "password": _SECRET},
            "authorization": {"type": ANY, "credentials": _SECRET},
            "metricRelabeling": [_any("action modulus regex replacement separator sourceLabels targetLabel")],
        }
    ],
    "targetLabels": {"metadata": ANY, "fromPod": [_any("from to")]},
    "limits": _any("samples labels labelNameLength labelValueLength"),
    "filterRunning": ANY,
}
_HTTP_ROUTE = {
    "parentRefs": [_any("group kind namespace name sectionName port")],
    "hostnames": ANY,
    "rules": [
        {
            "name": ANY,
            "backendRefs": [_any("group kind name namespace port weight filters")],
            "matches": [{"path": _any("type value"), **_any("headers method queryParams")}],
            "filters": [_any("type requestHeaderModifier responseHeaderModifier requestRedirect urlRewrite")],
        }
    ],
}
_VERTICAL_POD_AUTOSCALER = {
    "targetRef": _any("apiVersion kind name"),
    "updatePolicy": _any("updateMode minReplicas"),
    "resourcePolicy": {
        "containerPolicies": [_any("containerName mode minAllowed maxAllowed controlledResources controlledValues")]
    },
}
SPEC_FIELDS = {  # by API version and kind
    (GOOGLE, "PodMonitoring"): _POD_MONITORING,
    (GOOGLE, "ClusterRules"): _GOOGLE_RULES,
    (GOOGLE, "GlobalRules"): _GOOGLE_RULES,
    (GOOGLE, "Rules"): _GOOGLE_RULES,
    ("gateway.networking.k8s.io/v1", "HTTPRoute"): _HTTP_ROUTE,
    ("autoscaling.k8s.io/v1", "VerticalPodAutoscaler"): _VERTICAL_POD_AUTOSCALER,
}
CLUSTER_SCOPED = {(GOOGLE, "ClusterRules"), (GOOGLE, "GlobalRules")}


def objects(text: str) -> list[Object]:
    """Return the objects of a YAML stream."""
    return [document for document in yaml.load_all(text, yaml.CSafeLoader) if document]


def of_kind(found: list[Object], kind: str) -> list[Object]:
    """Return the objects of one kind."""
    return [item for item in found if item["kind"] == kind]


def named(item: Object) -> str:
    """Return KIND/NAME."""
    return f"{item['kind']}/{item['metadata']['name']}"


def workload(found: list[Object]) -> Object:
    """Return the only Deployment or StatefulSet."""
    (item,) = [*of_kind(found, "Deployment"), *of_kind(found, "StatefulSet")]
    return item


def container(found: list[Object]) -> Object:
    """Return the container of the exporter."""
    item: Object = workload(found)["spec"]["template"]["spec"]["containers"][0]
    return item


def problems(item: Object) -> list[str]:
    """Return what an API server would refuse, or silently drop, in an object."""
    return list(_problems(json.dumps(item, sort_keys=True)))


@cache  # most objects occur in several outputs
def _problems(text: str) -> tuple[str, ...]:
    item = json.loads(text)
    kind = item["apiVersion"], item["kind"]
    if kind[0] == OPERATOR:
        found = _operator_problems(item)
    elif kind in SPEC_FIELDS:
        found = [*unknown_fields(item["spec"], SPEC_FIELDS[kind], "spec"), *_google_problems(item)]
    else:
        found = [*_built_in_problems(item)]
    return tuple(f"{named(item)}: {problem}" for problem in found)


def _built_in_problems(item: Object) -> Iterator[str]:
    for version in KUBERNETES_VERSIONS:
        try:
            kubernetes_validate.validate(item, version, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"Kubernetes {version}: {'.'.join(map(str, error.path))}: {error.message}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield error.message


def _operator_problems(item: Object) -> list[str]:
    """Return problems by the models of Prometheus Operator, which drop fields that they do not know."""
    models = _operator_models()
    try:
        read = getattr(models, item["kind"]).model_validate(item)
    except ValidationError as error:
        return [str(error)]
    return missing_paths(item, read.model_dump(mode="json", by_alias=True, exclude_none=True))


@cache
def _operator_models() -> Any:
    """Return the models, which scripts/setup installs in a folder of their own: the package brings a pytest plugin."""
    sys.path.append(str(Path(sys.prefix) / "operator-models"))
    try:
        return importlib.import_module("cloudcoil.models.prometheus_operator.v1")
    finally:
        sys.path.pop()


def unknown_fields(value: object, allowed: object, at: str) -> Iterator[str]:
    """Yield the paths of fields that are not allowed. A list in `allowed` contains the form of its items."""
    if isinstance(allowed, dict):
        if not isinstance(value, dict):
            yield f"{at}: not an object"
            return
        for key, content in value.items():
            if key in allowed:
                yield from unknown_fields(content, allowed[key], f"{at}.{key}")
            else:
                yield f"{at}.{key}: unknown field"
    elif isinstance(allowed, list):
        if not isinstance(value, list) or not value:
            yield f"{at}: not a list of at least one item"
            return
        for i, content in enumerate(value):
            yield from unknown_fields(content, allowed[0], f"{at}[{i}]")


def _google_problems(item: Object) -> Iterator[str]:
    """Yield violations of what Google's definitions demand in addition to the fields."""
    if (item["apiVersion"], item["kind"]) in CLUSTER_SCOPED and "namespace" in item["metadata"]:
        yield f"{item['kind']} has no namespace"
    spec = item["spec"]
    rules = [rule for group in spec.get("groups", ()) for rule in group["rules"]]
    relabelings = [r for endpoint in spec.get("endpoints", ()) for r in endpoint.get("metricRelabeling", ())]
    mappings = spec.get("targetLabels", {}).get("fromPod", ())
    labels = [label for rule in rules for label in rule.get("labels", ())]
    labels += [relabeling.get("targetLabel") for relabeling in relabelings]
    labels += [mapping.get("to", mapping["from"]) for mapping in mappings]
    yield from (f"sets the reserved label {label}" for label in labels if label in RESERVED_LABELS)
    if "labelmap" in {relabeling.get("action") for relabeling in relabelings}:
        yield "labelmap is not allowed"
    for endpoint in spec.get("endpoints", ()):
        if not {"port", "interval"} <= endpoint.keys():
            yield "port and interval are required"
        elif _seconds(endpoint.get("timeout", "0s")) > _seconds(endpoint["interval"]):
            yield "timeout exceeds interval"


def _seconds(duration: str) -> float:
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)(ms|[smhd])", duration))


def selector_problems(found: list[Object]) -> Iterator[str]:
    """Yield selectors that do not select the pods, or the Service for scrapes, of the same output."""
    pods = workload(found)["spec"]["template"]["metadata"]["labels"]
    selectors = {
        "Service": lambda spec: spec["selector"],
        "Deployment": lambda spec: spec["selector"]["matchLabels"],
        "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
        "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
        "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        "PodMonitoring": lambda spec: spec["selector"]["matchLabels"],
    }
    for item in found:
        if item["kind"] in selectors:
            try:
                selector = selectors[item["kind"]](item["spec"])
            except KeyError as error:
                yield f"{named(item)}: no {error}"
            else:
                if not selector or not selector.items() <= pods.items():
                    yield f"{named(item)}: {selector} does not select the pods"
        if item["kind"] == "ServiceMonitor":
            selector = item["spec"]["selector"]["matchLabels"]
            services = [s for s in of_kind(found, "Service") if selector.items() <= s["metadata"]["labels"].items()]
            if [service["spec"].get("clusterIP") for service in services] != ["None"]:
                yield f"{named(item)}: selects {[named(service) for service in services]}, not the headless Service"


def version_labels(found: list[Object]) -> Iterator[str]:
    """Yield labels that change with the version, in selectors and volumeClaimTemplates, which cannot be changed."""
    for item in found:
        for path in ("selector", "podSelector", "volumeClaimTemplates"):
            text = json.dumps(item.get("spec", {}).get(path, {}))
            yield from (f"{named(item)}: {label}" for label in ("version", "helm.sh/chart") if label in text)


def rule_groups(found: list[Object]) -> list[list[Object]]:
    """Return the groups of every object that contains rules."""
    return [item["spec"]["groups"] for item in found if "groups" in item.get("spec", {})]
