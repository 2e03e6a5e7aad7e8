"""The Admin API's answers: a request in, a status and a body out. Knows paths, paging, `fields` and error bodies."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from exporter.simulator.timeline import Resource
from exporter.simulator.worlds import World

_ROUTE = re.compile(
    r"/(?:v1|sql/v1beta4)/projects/(?P<project>[^/]+)/instances"
    r"(?:/(?P<instance>[^/]+)/backupRuns(?:/(?P<run>[^/]+))?)?"
)
_METHODS = {(False, False): "instances.list", (True, False): "backupRuns.list", (True, True): "backupRuns.get"}
_SEARCH = "/v3/projects:search"
_TERM = re.compile(r"(labels\.(?P<label>[\w-]+)|state|id|projectId)[:=](?P<value>\S+)")

Mask = dict[str, "Mask"]


@dataclass(frozen=True)
class Answer:
    """An HTTP status and a JSON body."""

    status: int
    body: Resource


class RefusalError(Exception):
    """A request that the API turns down."""

    def __init__(self, code: int, reason: str, message: str, **more: object) -> None:
        super().__init__(message)
        error = {"domain": "global", "message": message, "reason": reason}
        self.answer = Answer(code, {"error": {"code": code, "message": message, "errors": [error], **more}})


class Request:
    """A GET request to the API: its path and query, and what they mean."""

    def __init__(self, world: World, path: str, query: Mapping[str, str]) -> None:
        route = _ROUTE.fullmatch(path)
        parts = {key: unquote(part) for key, part in route.groupdict("").items()} if route else {}
        self.world, self.path, self.query = world, path, query
        self.project, self.instance, self.run = (parts.get(key, "") for key in ("project", "instance", "run"))
        search = "projects.search" if path == _SEARCH else ""
        self.method = _METHODS[bool(self.instance), bool(self.run)] if route else search

    def instances_in(self, region: str) -> set[str]:
        """The names of the project's instances in a region."""
        instances = self.world.instances(self.project) if self.project in self.world.projects else []
        return {str(instance["name"]) for instance in instances if instance["region"] == region}


def answer(request: Request) -> Answer:
    """Answer a request."""
    try:
        return Answer(200, _masked(_body(request), _mask(request.query.get("fields", ""))))
    except RefusalError as refusal:
        return refusal.answer


def _body(request: Request) -> Resource:
    world, project, instance, query = request.world, request.project, request.instance, request.query
    if request.method == "projects.search":
        return _page(_found(world, query.get("query", "")), query, "projects", "", (100, 500), "pageSize")
    if not request.method:
        raise RefusalError(404, "notFound", f"No such path: {request.path}")
    _admit(world, project)
    if request.method == "instances.list":
        return _page(world.instances(project), query, "items", "sql#instancesList", (500, 1000))
    if instance != "-" and instance not in world.projects[project].instances:
        raise RefusalError(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
    runs = world.backup_runs(project, None if instance == "-" else instance)
    if request.method == "backupRuns.list":
        return _page(runs, query, "items", "sql#backupRunsList", (20, 1000))
    found = next((run for run in runs if run["id"] == request.run), None)
    if found is None:
        raise RefusalError(404, "backupRunDoesNotExist", "The backup run does not exist.")
    return found


def _admit(world: World, project: str) -> None:
    refuses = world.projects[project].refuses if project in world.projects else "notAuthorized"
    if refuses == "accessNotConfigured":
        message = f"Cloud SQL Admin API has not been used in project {project} before or it is disabled."
        info = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "SERVICE_DISABLED",
            "domain": "googleapis.com",
            "metadata": {"service": "sqladmin.googleapis.com", "consumer": f"projects/{project}"},
        }
        raise RefusalError(403, refuses, message, status="PERMISSION_DENIED", details=[info])
    if refuses:
        raise RefusalError(403, refuses, "The client is not authorized to make this request.")


def _found(world: World, query: str) -> list[Resource]:
    """Projects of which every term of the query holds; terms it does not know hold for all."""
    found: list[Resource] = []
    for name, project in sorted(world.projects.items()):
        facts = {"state": "ACTIVE", "id": name, "projectId": name}
        terms = [
            (project.labels.get(term["label"]) if term["label"] else facts[term[1]], term["value"])
            for term in _TERM.finditer(query)
        ]
        if all(value == wanted for value, wanted in terms):
            found.append({"projectId": name, "state": "ACTIVE", "labels": dict(project.labels)})
    return found


def _page(
    items: list[Resource],
    query: Mapping[str, str],
    key: str,
    kind: str,
    sizes: tuple[int, int],
    size_parameter: str = "maxResults",
) -> Resource:
    """One page. As in the real API an empty list is left out, and a page may move while it is turned."""
    default, most = sizes
    size = min(_number(query.get(size_parameter), size_parameter) or default, most)
    offset = _offset(query.get("pageToken"))
    body: Resource = {"kind": kind} if kind else {}
    if page := items[offset : offset + size]:
        body[key] = list(page)
    if offset + size < len(items):
        body["nextPageToken"] = base64.urlsafe_b64encode(f"offset={offset + size}".encode()).decode()
    return body


def _number(text: str | None, name: str) -> int:
    if text is None:
        return 0
    if not text.isdecimal():
        raise RefusalError(400, "invalidParameter", f"Invalid value for {name}: {text}")
    return int(text)


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("offset="))
    except (ValueError, binascii.Error):
        raise RefusalError(400, "invalidPageToken", "The page token is not valid.") from None


def _mask(text: str) -> Mask:
    """Read a field mask: `items(id,error/code),nextPageToken`."""
    root: Mask = {}
    stack, here = [root], root
    for piece in re.findall(r"[^(),/]+|[(),/]", text):
        match piece:
            case "(":
                stack.append(here)
            case ")":
                here = stack.pop()
            case ",":
                here = stack[-1]
            case "/":
                pass
            case name:
                here = here.setdefault(name.strip(), {})
    return root


def _masked(value: Resource, mask: Mask) -> Resource:
    if not mask:
        return value
    return {key: _picked(inner, mask[key]) for key, inner in value.items() if key in mask}


def _picked(value: object, mask: Mask) -> object:
    if isinstance(value, list):
        return [_picked(item, mask) for item in value]
    return _masked(value, mask) if isinstance(value, dict) else value
