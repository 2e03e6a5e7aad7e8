"""Google's discovery documents as JSON schemas that allow no undeclared keys."""

import json
from importlib.resources import files
from typing import Any

from jsonschema import Draft4Validator

OMITTED = {"scheduledMaintenance", "replicationCluster", "deploymentInfo", "serverCaCert"}  # in no response


def document(name: str) -> dict[str, Any]:
    """A discovery document by API and version, as in `sqladmin.v1`."""
    text = (files("googleapiclient") / f"discovery_cache/documents/{name}.json").read_text()
    content: dict[str, Any] = json.loads(text)
    if name == "sqladmin.v1":  # the description of the field names FINAL, its list of words does not
        content["schemas"]["BackupRun"]["properties"]["type"]["enum"].append("FINAL")
    return content


def validator(discovery: dict[str, Any], schema: str) -> Draft4Validator:
    """A validator of a schema of a discovery document."""
    return Draft4Validator(_strict(discovery["schemas"], discovery["schemas"][schema]))


def _strict(schemas: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    result = {key: value for key, value in schema.items() if key in ("type", "enum", "pattern") and value != "any"}
    if "$ref" in schema:
        return _strict(schemas, schemas[schema["$ref"]])
    if "items" in schema:
        result["items"] = _strict(schemas, schema["items"])
    if "properties" in schema:
        declared = {key: inner for key, inner in schema["properties"].items() if key not in OMITTED}
        result["properties"] = {key: _strict(schemas, inner) for key, inner in declared.items()}
        result["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = _strict(schemas, schema["additionalProperties"])
    if schema.get("format") == "int64":
        result["pattern"] = r"^-?\d{1,19}$"
    if schema.get("format") == "google-datetime":
        result["pattern"] = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$"
    return result
