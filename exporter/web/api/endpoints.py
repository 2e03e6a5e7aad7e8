"""The responses of the API."""

from datetime import date

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from exporter.runtime import Exporter
from exporter.verdict.evaluate import Evaluation
from exporter.verdict.listing import Listing, Selection
from exporter.web.api.content import deleted_instances_document, instance_document, status_document
from exporter.web.api.documents import ErrorDocument
from exporter.web.api.openapi import openapi


class Api:
    """The endpoints of the API of a running exporter."""

    def __init__(self, exporter: Exporter, listing: Listing) -> None:
        self._exporter, self._listing = exporter, listing

    def status(self, request: Request) -> Response:
        """The verdicts that the query parameters select."""
        try:
            selection = Selection.parse(request.query_params.multi_items())
        except ValueError as error:
            return _error(400, str(error))
        evaluation = self._exporter.evaluate()
        return _json(status_document(evaluation, self._listing.select(evaluation, selection)))

    def instance(self, request: Request) -> Response:
        """One instance in detail."""
        project, name = request.path_params["project"], request.path_params["instance"]
        evaluation = self._exporter.evaluate()
        verdicts = evaluation.by_project.get(project)
        verdict = verdicts.verdicts.get(name) if verdicts else None
        if verdicts is None or verdict is None:
            return _error(404, _why_unknown(evaluation, project, name))
        days = self._exporter.days(project, name, date.min, evaluation.now.date())
        return _json(instance_document(evaluation, verdict, verdicts.scan.records[name], days))

    def deleted_instances(self, request: Request) -> Response:
        """The deleted instances of which backups are left."""
        projects = {project for project in request.query_params.getlist("project") if project}
        return _json(deleted_instances_document(self._exporter.evaluate(), projects))

    def openapi(self, _request: Request) -> Response:
        """The description of the API."""
        return _json(openapi())


def _why_unknown(evaluation: Evaluation, project: str, name: str) -> str:
    status = next((status for status in evaluation.projects if status.project == project), None)
    if status is None:
        return f"project {project!r} is not among the targets, or has not been polled yet"
    if status.scan is None:
        return f"project {project!r} has not been read yet: {status.message or 'its first poll is in progress'}"
    return f"there is no instance {name!r} in project {project!r}, or no target selects it"


def _json(document: object, status: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(msgspec.json.encode(document), status, headers, media_type="application/json")


def _error(status: int, message: str) -> Response:
    return _json(ErrorDocument(message), status)
