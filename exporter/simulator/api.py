"""Responses of the simulated API: request in, status and JSON body out. Paths, paging, field masks and API errors."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from exporter.simulator.inventory import search_all_resources
from exporter.simulator.search import search_folders, search_projects
from exporter.simulator.timeline import Resource
from exporter.simulator.worlds import World

_ROUTE = re.compile(
    r"/(?:v1|sql/v1beta4)/projects/(?P<project>[^/]+)/(?:(?P<backups>backups)|instances"
    r"(?:/(?P<instance>[^/]+)/(?:backupRuns(?:/(?P<run>[^/]+))?|(?P<times>getLatestRecoveryTime)))?)"
)
_PLANS_ROUTE = re.compile(
    r"/v1/projects/(?P<project>[^/]+)/locations/(?P<location>[^/]+)/(?P<collection>backupPlanAssociations|backupPlans)"
)
BACKUP_DR = frozenset({"backupPlanAssociations.list", "backupPlans.list"})  # methods of the Backup and DR API
_SEARCHES = {"/v3/projects:search": "projects.search", "/v3/folders:search": "folders.search"}
_INVENTORY = re.compile(r"/v1/(?P<scope>(?:projects|folders|organizations)/[^/:]+):searchAllResources")
_TEST_PERMISSIONS = re.compile(r"/v3/projects/(?P<project>[^/:]+):testIamPermissions")

Mask = dict[str, "Mask"]


@dataclass(frozen=True)
class ApiResponse:
    """HTTP status and JSON body."""

    status: int
    body: Resource


class ApiError(Exception):
    """An error of the API, with its response."""

    def __init__(self, code: int, reason: str, message: str, **more: object) -> None:
        super().__init__(message)
        errors = [{"domain": "global", "message": message, "reason": reason}] if reason else None
        listed = {"errors": errors} if errors else {}  # Google's newer APIs have no such list
        self.response = ApiResponse(code, {"error": {"code": code, "message": message, **listed, **more}})


class Request:
    """A request: path, query and JSON body, and the method, project, instance and run that they name.

    Without a body it is a GET request, else a POST request. The values of a repeated parameter are joined by commas. In
    a search of Cloud Asset Inventory, `project` is the scope.
    """

    def __init__(self, world: World, path: str, query: Mapping[str, str], body: object = None) -> None:
        route = (_ROUTE if body is None else _TEST_PERMISSIONS).fullmatch(path)
        plans_route = _PLANS_ROUTE.fullmatch(path) if body is None else None
        found = route or plans_route
        parts = {key: unquote(part) for key, part in found.groupdict("").items()} if found else {}
        self.world, self.path, self.query, self.body = world, path, query, body
        self.project, self.instance, self.run = (parts.get(key, "") for key in ("project", "instance", "run"))
        self.location = parts.get("location", "")
        self.method = ""
        if route and body is not None:
            self.method = "projects.testIamPermissions"
        elif parts.get("backups"):
            self.method = "backups.list"
        elif plans_route:
            self.method = f"{parts['collection']}.list"
        elif route:
            self.method = _instance_method(parts)
        elif path in _SEARCHES and body is None:
            self.method = _SEARCHES[path]
        elif body is None and (inventory := _INVENTORY.fullmatch(path)):
            self.method, self.project = "searchAllResources", inventory["scope"]

    def instances_in(self, region: str) -> set[str]:
        """Return the names of the project's instances in a region."""
        instances = self.world.instances(self.project) if self.project in self.world.projects else []
        return {str(instance["name"]) for instance in instances if instance["region"] == region}

    def backups_in(self, region: str) -> set[str]:
        """Return the names of the backups of the project's instances in a region, deleted ones included."""
        backups = self.world.backups(self.project) if self.project in self.world.projects else []
        return {str(item["name"]) for item in backups if _region(item) == region}


def _instance_method(parts: Mapping[str, str]) -> str:
    """Return the method of a path with these parts."""
    if parts["times"]:
        return "instances.getLatestRecoveryTime"
    if parts["run"]:
        return "backupRuns.get"
    return "backupRuns.list" if parts["instance"] else "instances.list"


def respond(request: Request) -> ApiResponse:
    """Return the response to a request."""
    try:
        body = _backup_dr(request) if request.method in BACKUP_DR else _body(request)
        return ApiResponse(200, _apply_mask(body, parse_mask(request.query.get("fields", ""))))
    except ApiError as error:
        return newer_form(error.response) if request.method in BACKUP_DR else error.response


_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
}


def newer_form(response: ApiResponse) -> ApiResponse:
    """Return an error as Google's newer APIs write it: without `errors`, and with the reason in `details`."""
    match response.body:
        case {"error": {"code": int(code), "message": str(message), "errors": [{"reason": reason}], **more}}:
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
            error = {"code": code, "message": message, "status": _STATUSES[code], "details": [info], **more}
            return ApiResponse(response.status, {"error": error})
    return response


def _body(request: Request) -> Resource:
    world, project, query = request.world, request.project, request.query
    if request.method in ("projects.search", "folders.search", "searchAllResources"):
        return _search_results(request)
    if not request.method:
        raise ApiError(404, "notFound", f"No such path: {request.path}")
    if request.method == "projects.testIamPermissions":
        return _granted_permissions(world, project, request.body)
    _check_access(world, project)
    if request.method == "instances.list":
        return _page(world.instances(project), query, "items", "", (500, 1000))  # without a kind, as recorded
    if request.method == "instances.getLatestRecoveryTime":
        return _recovery_times(request)
    if request.method == "backups.list":
        if "filter" in query:
            raise ApiError(400, "invalidParameter", "The simulated API does not support filters of backups.")
        return _page(world.backups(project), query, "backups", "", (500, 2000), "pageSize")
    return _backup_runs(request)


def _backup_runs(request: Request) -> Resource:
    """Return the runs of one instance or all, or one run."""
    world, project, instance = request.world, request.project, request.instance
    if instance != "-" and instance not in world.existing(project):
        raise ApiError(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
    runs = world.backup_runs(project, None if instance == "-" else instance)
    if request.method == "backupRuns.list":
        return _page(runs, request.query, "items", "sql#backupRunsList", (20, 1000))
    found = next((run for run in runs if run["id"] == request.run), None)
    if found is None:
        raise ApiError(404, "backupRunDoesNotExist", "The backup run does not exist.")
    return found


def _recovery_times(request: Request) -> Resource:
    """Return the recovery times of one instance. Neither the wildcard nor a deletion time fits a live instance."""
    world, project, instance = request.world, request.project, request.instance
    if instance not in world.existing(project):
        raise ApiError(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist.")
    times = None if "sourceInstanceDeletionTime" in request.query else world.recovery_times(project, instance)
    if times is None:
        message = "Successful backup required for carrying out the operation was not found."
        raise ApiError(400, "invalidRequest", message)
    return times


def _region(backup: Resource) -> object:
    instance = backup.get("instanceSettings")
    return instance.get("region") if isinstance(instance, dict) else None


def _search_results(request: Request) -> Resource:
    """Return one page of a search. Errors of Cloud Asset Inventory have no list `errors`."""
    world, scope, query = request.world, request.project, request.query
    if request.method == "projects.search":
        projects = search_projects(world, query.get("query", ""))
        return _page(projects, query, "projects", "", (100, 500), "pageSize")
    if request.method == "folders.search":
        return _page(search_folders(world, query.get("query", "")), query, "folders", "", (100, 500), "pageSize")
    if not set(world.ancestors(scope)) & world.inventory_scopes:
        raise ApiError(403, "", "The caller does not have permission", status="PERMISSION_DENIED")
    try:
        found = search_all_resources(world, scope, list(filter(None, query.get("assetTypes", "").split(","))))
    except ValueError as error:
        raise ApiError(400, "", str(error), status="INVALID_ARGUMENT") from error
    mask = parse_mask(query.get("readMask", ""))
    items = [_apply_mask(item, mask) for item in found]
    return _page(items, query, "results", "", (100, 500), "pageSize")


def _granted_permissions(world: World, project: str, body: object) -> Resource:
    """Return those of the permissions in the body that the caller has. As in the real API, this needs no permission."""
    asked = body.get("permissions", []) if isinstance(body, dict) else None
    if not isinstance(asked, list) or not all(isinstance(name, str) and "*" not in name for name in asked):
        raise ApiError(400, "badRequest", "Request contains an invalid argument.", status="INVALID_ARGUMENT")
    if project not in world.projects:
        raise ApiError(403, "forbidden", "The caller does not have permission", status="PERMISSION_DENIED")
    granted = [name for name in asked if name in world.projects[project].permissions]
    return {"permissions": granted} if granted else {}


def _backup_dr(request: Request) -> Resource:
    """Return the body of a response of the Backup and DR API: no kind, and no item of another location."""
    world, project, key = request.world, request.project, request.method.removesuffix(".list")
    reason = world.projects[project].backup_dr_error if project in world.projects else "IAM_PERMISSION_DENIED"
    if reason == "SERVICE_DISABLED":
        message = f"Backup and DR Service API has not been used in project {project} before or it is disabled."
        raise ApiError(403, reason, message)
    if reason:
        permission = f"backupdr.{request.method}"
        raise ApiError(403, reason, f"Permission '{permission}' denied on resource (or it may not exist).")
    items = world.backup_plans(project) if key == "backupPlans" else world.backup_plan_associations(project)
    prefix = f"/locations/{request.location}/"
    items = [item for item in items if request.location == "-" or prefix in str(item["name"])]
    return _page(items, request.query, key, "", (50, 1000), "pageSize")


def _check_access(world: World, project: str) -> None:
    reason = world.projects[project].access_error if project in world.projects else "notAuthorized"
    if reason == "accessNotConfigured":
        message = f"Cloud SQL Admin API has not been used in project {project} before or it is disabled."
        raise ApiError(403, reason, message, status="PERMISSION_DENIED")  # without details, as recorded
    if reason:
        raise ApiError(403, reason, "The client is not authorized to make this request.")


def _page(
    items: list[Resource],
    query: Mapping[str, str],
    key: str,
    kind: str,
    sizes: tuple[int, int],
    size_parameter: str = "maxResults",
) -> Resource:
    """Return one page. As in the real API, an empty list is omitted, and items may shift between pages."""
    default, maximum = sizes
    size = min(_parse_size(query.get(size_parameter), size_parameter) or default, maximum)
    offset = _parse_page_token(query.get("pageToken"))
    body: Resource = {"kind": kind} if kind else {}
    if page := items[offset : offset + size]:
        body[key] = list(page)
    if offset + size < len(items):
        body["nextPageToken"] = base64.urlsafe_b64encode(f"offset={offset + size}".encode()).decode()
    return body


def _parse_size(text: str | None, name: str) -> int:
    if text is None:
        return 0
    if not text.isdecimal():
        raise ApiError(400, "invalidParameter", f"Invalid value for {name}: {text}")
    return int(text)


def _parse_page_token(token: str | None) -> int:
    """Return the offset of the page."""
    if token is None:
        return 0
    try:
        return int(base64.urlsafe_b64decode(token).decode().removeprefix("offset="))
    except (ValueError, binascii.Error):
        raise ApiError(400, "invalidPageToken", "The page token is not valid.") from None


def parse_mask(text: str) -> Mask:
    """Parse a field mask such as `items(id,error/code),nextPageToken`."""
    root: Mask = {}
    stack, current = [root], root
    for piece in re.findall(r"[^(),/]+|[(),/]", text):
        match piece:
            case "(":
                stack.append(current)
            case ")":
                current = stack.pop()
            case ",":
                current = stack[-1]
            case "/":
                pass
            case name:
                current = current.setdefault(name.strip(), {})
    return root


def _apply_mask(resource: Resource, mask: Mask) -> Resource:
    if not mask:
        return resource
    return {key: _apply_mask_to_value(value, mask[key]) for key, value in resource.items() if key in mask}


def _apply_mask_to_value(value: object, mask: Mask) -> object:
    if isinstance(value, list):
        return [_apply_mask_to_value(item, mask) for item in value]
    return _apply_mask(value, mask) if isinstance(value, dict) else value
