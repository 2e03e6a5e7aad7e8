"""Errors of the API and its responses become SourceErrors with a result and advice."""

from datetime import timedelta

import pytest

from exporter.facts.model import PollResult
from exporter.scan.source import SourceError
from exporter.simulator import Fault, Simulator
from tests.googleapis.helpers import TIMEOUT, FixedResponse, google_source, scan_project, serve


@pytest.mark.parametrize(
    ("fault", "result", "message"),
    [
        ("unauthenticated", PollResult.UNAUTHENTICATED, "check cloudsql.credentials"),
        ("forbidden", PollResult.FORBIDDEN, "grant cloudsql.instances.list (roles/cloudsql.viewer has it)"),
        ("api-disabled", PollResult.API_DISABLED, "gcloud services enable sqladmin.googleapis.com --project=museum"),
        ("not-found", PollResult.NOT_FOUND, "404"),
        ("quota", PollResult.QUOTA, "lower cloudsql.requests_per_minute"),
        ("server-error", PollResult.SERVER_ERROR, "500 Internal error encountered"),
        ("unavailable", PollResult.SERVER_ERROR, "503 Error 503 Service Unavailable"),
        ("slow", PollResult.TIMEOUT, "poll.timeout"),
        ("cut", PollResult.BAD_RESPONSE, "the response is incomplete or not the expected JSON"),
        ("reset", PollResult.UNREACHABLE, "cannot be reached"),
        ("html", PollResult.BAD_RESPONSE, "not the expected JSON"),
        ("wrong-json", PollResult.BAD_RESPONSE, "items in a response about museum is not a list"),
    ],
)
def test_fault_becomes_source_error_with_result_and_advice(
    simulator: Simulator, fault: str, result: PollResult, message: str
) -> None:
    slow = fault == "slow"
    simulator.faults.add(Fault(fault, seconds=2 if slow else 0))
    with pytest.raises(SourceError) as raised:
        scan_project(google_source(simulator.url, timedelta(seconds=0.5) if slow else TIMEOUT), "museum")
    assert (raised.value.result, message in str(raised.value)) == (result, True), str(raised.value)


def test_denied_listing_of_runs_names_the_permission(simulator: Simulator) -> None:
    simulator.faults.add(Fault("forbidden", method="backupRuns.list"))
    with pytest.raises(SourceError, match=r"grant cloudsql\.backupRuns\.list"):
        scan_project(google_source(simulator.url), "museum")


def test_refused_connection_is_unreachable(simulator: Simulator) -> None:
    source = google_source(simulator.url)
    simulator.stop()
    with pytest.raises(SourceError) as raised:
        scan_project(source, "museum")
    assert raised.value.result is PollResult.UNREACHABLE
    simulator.start = lambda: None  # type: ignore[method-assign] # stopped already


@pytest.mark.parametrize(
    ("status", "body", "result"),
    [
        (403, b'{"error": {"code": 403, "message": 5}}', PollResult.FORBIDDEN),
        (403, b'{"error": {"code": 403, "message": "no", "errors": [5]}}', PollResult.FORBIDDEN),
        (403, b'{"error": "no"}', PollResult.FORBIDDEN),
        (500, b"[]", PollResult.SERVER_ERROR),
        (404, b"", PollResult.NOT_FOUND),
        (403, b'{"error": {"message": "\\ud800", "errors": [{"reason": "userRateLimitExceeded"}]}}', PollResult.QUOTA),
        (204, b"", PollResult.BAD_RESPONSE),
        (200, b"", PollResult.BAD_RESPONSE),
        (200, b"null", PollResult.BAD_RESPONSE),
        (200, b"[" * 100_000, PollResult.BAD_RESPONSE),
        (200, b'{"items": {}}', PollResult.BAD_RESPONSE),
        (200, b'{"kind": "sql#operation"}', PollResult.BAD_RESPONSE),
        (302, b"", PollResult.BAD_RESPONSE),
    ],
)
def test_unexpected_body_becomes_source_error(status: int, body: bytes, result: PollResult) -> None:
    handler = type("Handler", (FixedResponse,), {"status": status, "body": body})
    codes: list[str] = []
    with serve(handler) as url:
        source = google_source(url, observe=lambda _method, code, _seconds: codes.append(code))
        with pytest.raises(SourceError) as raised:
            list(source.instances("museum"))
    assert raised.value.result is result
    assert str(raised.value).encode()
    if status >= 300:
        assert codes == [str(status)]
