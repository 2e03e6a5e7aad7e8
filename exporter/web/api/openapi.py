"""The OpenAPI document of the API."""

from functools import cache

import msgspec

from exporter import __version__
from exporter.verdict.listing import SORT_KEYS
from exporter.verdict.rules import WORST_FIRST
from exporter.web.api.documents import DeletedInstancesDocument, ErrorDocument, InstanceDocument, StatusDocument

Json = dict[str, object]

_SCHEMAS = "#/components/schemas/"
_PROJECTS: Json = {
    "name": "project",
    "in": "query",
    "description": "Only these projects; may be repeated",
    "schema": {"type": "array", "items": {"type": "string"}},
}


@cache
def openapi() -> Json:
    """The document, in OpenAPI 3.1; the schemas are those of the documents."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "cloudsql-backup-exporter",
            "version": __version__,
            "description": "Verdicts on the backups of Google Cloud SQL instances, and the facts they rest on.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "../..", "description": "This exporter"}],
        "security": [{}, {"basic": []}],
        "paths": {
            "/api/v1/status": {"get": _status()},
            "/api/v1/instances/{project}/{instance}": {"get": _instance()},
            "/api/v1/deleted-instances": {"get": _deleted_instances()},
            "/api/v1/openapi.json": {"get": _document()},
        },
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic", "description": "If the web configuration has users"}
            },
        },
    }


def _status() -> Json:
    number = {"type": "integer", "minimum": 0, "maximum": 999_999_999}
    sort_keys = [*SORT_KEYS, *(f"-{key}" for key in SORT_KEYS)]
    return {
        "operationId": "getStatus",
        "summary": "The verdicts on the selected instances",
        "description": (
            "`label.NAME=VALUE` also selects, by a user label. One of the values of the same parameter or label must "
            "match, and each of the different ones. Empty values are ignored."
        ),
        "parameters": [
            _query(
                "state",
                "Only these states; repeated, or separated by commas",
                {"type": "array", "items": {"enum": list(WORST_FIRST)}},
            ),
            _PROJECTS,
            _query("q", "Words in project, instance, reasons, findings or user labels", {"type": "string"}),
            _query("sort", "Order; `state` is worst first", {"enum": sort_keys, "default": "state"}),
            _query("limit", "The largest number of instances to return; all by default", number),
            _query("offset", "The number of instances to leave out at the beginning", {**number, "default": 0}),
        ],
        "responses": {
            "200": _response("The verdicts", StatusDocument.__name__),
            "400": _response("A parameter is not valid", ErrorDocument.__name__),
        },
    }


def _instance() -> Json:
    return {
        "operationId": "getInstance",
        "summary": "An instance with its runs, configuration, policy, counters and daily record",
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in ("project", "instance")
        ],
        "responses": {
            "200": _response("The instance", InstanceDocument.__name__),
            "404": _response("There is no such instance, or it has not been read yet", ErrorDocument.__name__),
        },
    }


def _deleted_instances() -> Json:
    return {
        "operationId": "getDeletedInstances",
        "summary": "Deleted instances of which backups are left, with `collect.deleted_instances`",
        "parameters": [_PROJECTS],
        "responses": {"200": _response("The deleted instances", DeletedInstancesDocument.__name__)},
    }


def _document() -> Json:
    return {
        "operationId": "getOpenApi",
        "summary": "This document",
        "responses": {
            "200": {"description": "This document", "content": {"application/json": {"schema": {"type": "object"}}}}
        },
    }


def _query(name: str, description: str, schema: Json) -> Json:
    return {"name": name, "in": "query", "description": description, "schema": schema}


def _response(description: str, schema: str) -> Json:
    return {"description": description, "content": {"application/json": {"schema": {"$ref": _SCHEMAS + schema}}}}


def _schemas() -> Json:
    _, components = msgspec.json.schema_components(
        (StatusDocument, InstanceDocument, DeletedInstancesDocument, ErrorDocument), ref_template=_SCHEMAS + "{name}"
    )
    return components
