"""Faults that can be injected into the simulated API: which requests they match, and their effect on the response."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from exporter.simulator.api import BACKUP_DR, ApiError, ApiResponse, Request, newer_form
from exporter.simulator.inventory import INSTANCE
from exporter.simulator.timeline import Resource

METHODS = (
    *("*", "instances.list", "instances.getLatestRecoveryTime", "backupRuns.list", "backupRuns.get", "backups.list"),
    *("projects.search", "projects.testIamPermissions"),
    *sorted(BACKUP_DR),
    *("folders.search", "searchAllResources"),
)
HTML_ERROR = b"<html><head><title>Error 503</title></head><body><h1>Service Unavailable</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """A fault of one kind for matching requests; `*` matches all projects, instances or methods.

    `times`: number of requests that it affects; None: all until it is removed. `seconds`: duration of a slow response,
    or value of the Retry-After header, which is omitted for 0. `region`: the unreachable region. `details`: whether an
    API error has the list of that name; recorded ones have it or not.
    """

    kind: str
    project: str = "*"
    method: str = "*"  # one of METHODS
    times: int | None = None
    seconds: float = 0
    region: str = "europe-west4"
    details: bool = True
    instance: str = "*"  # that the path names

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known faults: {', '.join(KINDS)}")
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known methods: {', '.join(METHODS)}")
        if not isinstance(self.seconds, int | float) or self.seconds < 0:
            raise ValueError("seconds must be a number of at least 0")
        if not isinstance(self.details, bool):
            raise ValueError("details must be true or false")
        if self.times is not None and (not isinstance(self.times, int) or self.times < 0):
            raise ValueError("times must be an integer of at least 0")

    def matches(self, request: Request) -> bool:
        """Whether the fault affects the request."""
        return (
            self.project in ("*", request.project)
            and self.instance in ("*", request.instance)
            and self.method in ("*", request.method)
        )


@dataclass(frozen=True)
class HttpResponse:
    """Body, status and headers as sent, and how they are sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0  # seconds
    cut: bool = False  # close the connection in the middle of the body
    reset: bool = False  # reset the connection instead of responding

    @classmethod
    def of(cls, response: ApiResponse) -> "HttpResponse":
        """Encode an API response."""
        return cls(response.status, json.dumps(response.body).encode())


class Faults:
    """The active faults. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._active: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after those that are active."""
        with self._lock:
            self._active.append(fault)

    def clear(self) -> None:
        """Remove all faults."""
        with self._lock:
            self._active.clear()

    def as_dicts(self) -> list[Resource]:
        """Return the active faults in JSON form."""
        with self._lock:
            return [asdict(fault) for fault in self._active]

    def apply(self, request: Request, response: ApiResponse) -> HttpResponse:
        """Apply the first fault that matches the request, if any, to its response."""
        with self._lock:
            fault = next((fault for fault in self._active if fault.matches(request)), None)
            if fault and fault.times is not None:
                left = replace(fault, times=fault.times - 1)
                self._active = [
                    left if active is fault else active for active in self._active if active is not fault or left.times
                ]
        if fault is None or (fault.kind in _ONLY_ON_SUCCESS and response.status != 200):
            return HttpResponse.of(response)
        return KINDS[fault.kind](fault, request, response)


Effect = Callable[[Fault, Request, ApiResponse], HttpResponse]


def _api_error(code: int, reason: str, message: str, **more: object) -> Effect:
    def apply(fault: Fault, request: Request, _response: ApiResponse) -> HttpResponse:
        kept = {key: value for key, value in more.items() if fault.details or key != "details"}
        response = ApiError(code, reason, message, **kept).response
        error = HttpResponse.of(newer_form(response) if request.method in BACKUP_DR else response)
        return replace(error, headers={"Retry-After": f"{fault.seconds:g}"}) if fault.seconds else error

    return apply


def _error_info(reason: str) -> list[Resource]:
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]


def _unavailable(_fault: Fault, _request: Request, _response: ApiResponse) -> HttpResponse:
    return HttpResponse(503, HTML_ERROR, {"Content-Type": "text/html"})


def _slow(fault: Fault, _request: Request, response: ApiResponse) -> HttpResponse:
    return replace(HttpResponse.of(response), delay=fault.seconds)


def _cut(_fault: Fault, _request: Request, response: ApiResponse) -> HttpResponse:
    return replace(HttpResponse.of(response), cut=True)


def _reset(_fault: Fault, _request: Request, response: ApiResponse) -> HttpResponse:
    return replace(HttpResponse.of(response), reset=True)


def _html(_fault: Fault, _request: Request, _response: ApiResponse) -> HttpResponse:
    return HttpResponse(200, HTML_ERROR, {"Content-Type": "text/html"})


def _wrong_json(_fault: Fault, _request: Request, _response: ApiResponse) -> HttpResponse:
    return HttpResponse(200, b'{"kind": "sql#somethingElse", "items": "none", "nextPageToken": 7}')


def _expired_token(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    if "pageToken" not in request.query:
        return HttpResponse.of(response)
    return HttpResponse.of(ApiError(400, "invalidPageToken", "The page token has expired.").response)


def _items_key(request: Request) -> str:
    if request.method in BACKUP_DR or request.method == "backups.list":
        return request.method.removesuffix(".list")
    return "items"


def _items(request: Request, response: ApiResponse) -> list[Resource]:
    items = response.body.get(_items_key(request), [])
    return items if isinstance(items, list) else []


def _with_items(request: Request, response: ApiResponse, items: list[object]) -> HttpResponse:
    return HttpResponse.of(ApiResponse(200, {**response.body, _items_key(request): items}))


def _unordered(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    """Reverse the items of the page: oldest first."""
    items = _items(request, response)
    return _with_items(request, response, [*items[::-1]]) if items else HttpResponse.of(response)


def _unreachable_region(fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    """Omit the instances and backups of the region, with a warning, and their runs, without one.

    The Backup and DR API names the region that its listings lack.
    """
    if request.method in BACKUP_DR:
        response = replace(response, body={**response.body, "unreachable": [fault.region]})
        location = f"/locations/{fault.region}/"
        kept = [item for item in _items(request, response) if location not in str(item["name"])]
        return _with_items(request, response, [*kept])
    backups = request.method == "backups.list"
    omitted = request.backups_in(fault.region) if backups else request.instances_in(fault.region)
    key = "instance" if request.method == "backupRuns.list" else "name"
    if request.method in ("instances.list", "backups.list"):
        message = f"The region {fault.region} cannot be reached."
        warnings = [{"code": "REGION_UNREACHABLE", "region": fault.region, "message": message}]
        response = replace(response, body={**response.body, "warnings": warnings})
    return _with_items(request, response, [item for item in _items(request, response) if item.get(key) not in omitted])


def _odd_items(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    """Add items that cannot be read before and after the others."""
    odd: list[object] = [None, "backup", 7, [], {"instance": 7, "instanceDeletionTime": "soon", "windowStartTime": []}]
    return _with_items(request, response, [*odd, *_items(request, response), *odd])


def _published_names(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    """Write fields of backups as published examples do, which differ from the schema."""
    names = {"state": "status", "backupRun": "backup_run"}
    items = [
        {"dataDiskSizeGB": "10", **{names.get(key, key): value for key, value in item.items()}}
        for item in _items(request, response)
    ]
    return _with_items(request, response, [*items]) if items else HttpResponse.of(response)


def _stale_inventory(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    """Omit all instances from a search of Cloud Asset Inventory: its synchronisation failed."""
    results = response.body.get("results", [])
    if request.method != "searchAllResources" or not isinstance(results, list):
        return HttpResponse.of(response)
    left = [result for result in results if result.get("assetType") != INSTANCE]
    return HttpResponse.of(ApiResponse(200, {**response.body, "results": left}))


def _no_wildcard(_fault: Fault, request: Request, response: ApiResponse) -> HttpResponse:
    if "/instances/-/" not in request.path:
        return HttpResponse.of(response)
    return HttpResponse.of(ApiError(400, "invalidParameter", "The instance name - is not allowed.").response)


KINDS: Mapping[str, Effect] = MappingProxyType(
    {
        "unauthenticated": _api_error(401, "authError", "Request had invalid authentication credentials."),
        "forbidden": _api_error(403, "notAuthorized", "The client is not authorized to make this request."),
        "api-disabled": _api_error(
            403,
            "accessNotConfigured",
            "Cloud SQL Admin API has not been used in this project before or it is disabled.",
            status="PERMISSION_DENIED",
            details=_error_info("SERVICE_DISABLED"),
        ),
        "not-found": _api_error(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist."),
        "quota": _api_error(
            429,
            "rateLimitExceeded",
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'.",
            status="RESOURCE_EXHAUSTED",
            details=_error_info("RATE_LIMIT_EXCEEDED"),
        ),
        "server-error": _api_error(500, "internalError", "Internal error encountered."),
        "unavailable": _unavailable,
        "slow": _slow,
        "cut": _cut,
        "reset": _reset,
        "html": _html,
        "wrong-json": _wrong_json,
        "expired-token": _expired_token,
        "odd-items": _odd_items,
        "published-names": _published_names,
        "unordered": _unordered,
        "unreachable-region": _unreachable_region,
        "no-wildcard": _no_wildcard,
        "stale-inventory": _stale_inventory,
    }
)
_ONLY_ON_SUCCESS = frozenset({"odd-items", "published-names", "unordered", "unreachable-region", "stale-inventory"})
