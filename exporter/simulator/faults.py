"""The bad days of an API: which requests meet which fault, and what it makes of their answer."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType

from exporter.simulator.api import Answer, RefusalError, Request
from exporter.simulator.timeline import Resource

METHODS = ("*", "instances.list", "backupRuns.list", "backupRuns.get", "projects.search")
HTML = b"<html><head><title>Error 503</title></head><body><h1>Service Unavailable</h1></body></html>"


@dataclass(frozen=True)
class Fault:
    """One kind of trouble, for the requests it is meant for; `*` means all.

    `times`: how many requests meet it, None for all until it is cleared. `seconds`: how long a slow answer takes,
    or after how long a Retry-After header says to come again; the header is left out for 0. `region`: which one
    cannot be reached.
    """

    kind: str
    project: str = "*"
    method: str = "*"  # one of METHODS
    times: int | None = None
    seconds: float = 0
    region: str = "europe-west4"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known are {', '.join(KINDS)}")
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; known are {', '.join(METHODS)}")
        if not isinstance(self.seconds, int | float) or self.seconds < 0:
            raise ValueError("seconds must be a number from 0 on")
        if self.times is not None and (not isinstance(self.times, int) or self.times < 0):
            raise ValueError("times must be a whole number from 0 on")

    def meets(self, request: Request) -> bool:
        """Whether the request is one it is meant for."""
        return self.project in ("*", request.project) and self.method in ("*", request.method)


@dataclass(frozen=True)
class Reply:
    """What goes over the wire: an answer's bytes, and how it is sent."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    delay: float = 0
    cut: bool = False  # the connection ends in the midst of the body
    reset: bool = False  # the connection is reset instead of an answer

    @classmethod
    def of(cls, answer: Answer) -> "Reply":
        """An answer as it should be."""
        return cls(answer.status, json.dumps(answer.body).encode())


class Faults:
    """The faults that are switched on. Safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._on: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Switch a fault on, after those that are on already."""
        with self._lock:
            self._on.append(fault)

    def clear(self) -> None:
        """Switch every fault off."""
        with self._lock:
            self._on.clear()

    def listed(self) -> list[Resource]:
        """The faults that are on, as plain data."""
        with self._lock:
            return [asdict(fault) for fault in self._on]

    def apply(self, request: Request, answer: Answer) -> Reply:
        """What becomes of an answer: the first fault that is meant for the request has its way."""
        with self._lock:
            fault = next((fault for fault in self._on if fault.meets(request)), None)
            if fault and fault.times is not None:
                left = replace(fault, times=fault.times - 1)
                self._on = [left if on is fault else on for on in self._on if on is not fault or left.times]
        if fault is None or (fault.kind in _ON_SUCCESS and answer.status != 200):
            return Reply.of(answer)
        return KINDS[fault.kind](fault, request, answer)


Spoil = Callable[[Fault, Request, Answer], Reply]


def _refusal(code: int, reason: str, message: str, **more: object) -> Spoil:
    def apply(fault: Fault, _request: Request, _answer: Answer) -> Reply:
        reply = Reply.of(RefusalError(code, reason, message, **more).answer)
        return replace(reply, headers={"Retry-After": f"{fault.seconds:g}"}) if fault.seconds else reply

    return apply


def _info(reason: str) -> list[Resource]:
    return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]


def _unavailable(_fault: Fault, _request: Request, _answer: Answer) -> Reply:
    return Reply(503, HTML, {"Content-Type": "text/html"})


def _slow(fault: Fault, _request: Request, answer: Answer) -> Reply:
    return replace(Reply.of(answer), delay=fault.seconds)


def _cut(_fault: Fault, _request: Request, answer: Answer) -> Reply:
    return replace(Reply.of(answer), cut=True)


def _reset(_fault: Fault, _request: Request, answer: Answer) -> Reply:
    return replace(Reply.of(answer), reset=True)


def _html(_fault: Fault, _request: Request, _answer: Answer) -> Reply:
    return Reply(200, HTML, {"Content-Type": "text/html"})


def _wrong_json(_fault: Fault, _request: Request, _answer: Answer) -> Reply:
    return Reply(200, b'{"kind": "sql#somethingElse", "items": "none", "nextPageToken": 7}')


def _expired_token(_fault: Fault, request: Request, answer: Answer) -> Reply:
    if "pageToken" not in request.query:
        return Reply.of(answer)
    return Reply.of(RefusalError(400, "invalidPageToken", "The page token has expired.").answer)


def _items(answer: Answer) -> list[Resource]:
    items = answer.body.get("items", [])
    return items if isinstance(items, list) else []


def _unordered(_fault: Fault, _request: Request, answer: Answer) -> Reply:
    """The page's items turned about: the oldest first."""
    items = _items(answer)
    return Reply.of(Answer(200, {**answer.body, "items": items[::-1]} if items else answer.body))


def _unreachable_region(fault: Fault, request: Request, answer: Answer) -> Reply:
    """Instances of the region are missing, with a warning; their runs are missing without one."""
    lost = request.instances_in(fault.region)
    key = "name" if request.method == "instances.list" else "instance"
    body: Resource = {**answer.body, "items": [item for item in _items(answer) if item.get(key) not in lost]}
    if request.method == "instances.list":
        message = f"The region {fault.region} cannot be reached."
        body["warnings"] = [{"code": "REGION_UNREACHABLE", "region": fault.region, "message": message}]
    return Reply.of(Answer(200, body))


def _no_wildcard(_fault: Fault, request: Request, answer: Answer) -> Reply:
    if "/instances/-/" not in request.path:
        return Reply.of(answer)
    return Reply.of(RefusalError(400, "invalidParameter", "The instance name - is not allowed.").answer)


KINDS: Mapping[str, Spoil] = MappingProxyType(
    {
        "unauthenticated": _refusal(401, "authError", "Request had invalid authentication credentials."),
        "forbidden": _refusal(403, "notAuthorized", "The client is not authorized to make this request."),
        "api-disabled": _refusal(
            403,
            "accessNotConfigured",
            "Cloud SQL Admin API has not been used in this project before or it is disabled.",
            status="PERMISSION_DENIED",
            details=_info("SERVICE_DISABLED"),
        ),
        "not-found": _refusal(404, "instanceDoesNotExist", "The Cloud SQL instance does not exist."),
        "quota": _refusal(
            429,
            "rateLimitExceeded",
            "Quota exceeded for quota metric 'Queries' and limit 'Queries per minute per user'.",
            status="RESOURCE_EXHAUSTED",
            details=_info("RATE_LIMIT_EXCEEDED"),
        ),
        "server-error": _refusal(500, "internalError", "Internal error encountered."),
        "unavailable": _unavailable,
        "slow": _slow,
        "cut": _cut,
        "reset": _reset,
        "html": _html,
        "wrong-json": _wrong_json,
        "expired-token": _expired_token,
        "unordered": _unordered,
        "unreachable-region": _unreachable_region,
        "no-wildcard": _no_wildcard,
    }
)
_ON_SUCCESS = frozenset({"unordered", "unreachable-region"})
