"""Google's client against the simulated API over real HTTP: every page, every error in one of our words."""

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.facts.record import ProjectScan
from exporter.googleapis import CredentialsError, GoogleApis
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.googleapis.source import GoogleSource
from exporter.scan import parse
from exporter.scan.incremental import scan
from exporter.scan.source import ALL_INSTANCES, Page, SourceError
from exporter.simulator import WORLDS, Fault, Simulator
from exporter.simulator.worlds import Project
from tests.support.builders import NOW, WorldSource, scan_options, world

TIMEOUT = timedelta(seconds=5)


@pytest.fixture
def simulator() -> Iterator[Simulator]:
    with Simulator(world(WORLDS["demo"]())) as simulator:
        yield simulator


def observe(_method: str, _code: str, _seconds: float) -> None:
    """Take no note."""


def api(simulator: Simulator, timeout: timedelta = TIMEOUT, **settings: object) -> GoogleSource:
    keys = {"endpoint": simulator.url, "credentials": "anonymous"} | settings
    return GoogleApis(CloudSql.model_validate(keys), timeout, 8, retrying(), observe).source(time.monotonic())


def retrying() -> Retrying:
    return Retrying(RateLimiter(60_000), threading.Event(), lambda _method: None)


def read(source: GoogleSource | WorldSource, project: str) -> ProjectScan:
    return scan(source, project, NOW, scan_options(), None)


@pytest.mark.parametrize("version", ["v1", "v1beta4"])
def test_what_comes_over_http_is_what_the_world_holds(simulator: Simulator, version: str) -> None:
    told = read(api(simulator, api_version=version), "museum")
    assert told == read(WorldSource(simulator.world), "museum")
    prefix = "/v1/" if version == "v1" else "/sql/v1beta4/"
    assert all(path.startswith(prefix) for path in simulator.requests)


def test_a_project_is_read_with_one_request_for_instances_and_one_for_all_runs(simulator: Simulator) -> None:
    read(api(simulator), "museum")
    assert [path.split("?")[0] for path in simulator.requests] == [
        "/v1/projects/museum/instances",
        "/v1/projects/museum/instances/-/backupRuns",
    ]


def test_every_page_is_read(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 7)
    assert read(api(simulator), "museum") == read(WorldSource(simulator.world), "museum")
    assert len(simulator.requests) > 20


def test_a_project_of_a_domain_keeps_its_colon() -> None:
    with Simulator(world({"example.com:shop": Project(WORLDS["healthy"]()["shop-prod"].instances)})) as simulator:
        assert len(read(api(simulator), "example.com:shop").records) == 8


def test_where_the_wildcard_is_refused_instances_are_listed_one_by_one(simulator: Simulator) -> None:
    simulator.faults.add(Fault("no-wildcard"))
    told = read(api(simulator), "shop-prod")
    assert told.records == read(WorldSource(simulator.world), "shop-prod").records
    assert not told.newest_first  # one listing after another is in no order across instances
    assert sum("backupRuns" in path for path in simulator.requests) == 1 + 8  # all but the replica


def test_an_instance_deleted_between_the_listings_has_no_runs(simulator: Simulator) -> None:
    """The first single listing is answered with 404; the others are read."""
    simulator.faults.add(Fault("no-wildcard", times=1))
    simulator.faults.add(Fault("not-found", method="backupRuns.list", times=1))
    simulator.faults.add(Fault("slow", method="instances.list"))
    told = read(api(simulator), "shop-prod")
    assert sum(bool(record.history.runs) for record in told.records.values()) >= 6


@pytest.mark.parametrize(
    ("fault", "result", "says"),
    [
        ("unauthenticated", PollResult.UNAUTHENTICATED, "check cloudsql.credentials"),
        ("forbidden", PollResult.FORBIDDEN, "grant cloudsql.instances.list (roles/cloudsql.viewer has it)"),
        ("api-disabled", PollResult.API_DISABLED, "gcloud services enable sqladmin.googleapis.com --project=museum"),
        ("not-found", PollResult.NOT_FOUND, "404"),
        ("quota", PollResult.QUOTA, "lower cloudsql.requests_per_minute"),
        ("server-error", PollResult.SERVER_ERROR, "500 Internal error encountered"),
        ("unavailable", PollResult.SERVER_ERROR, "503 Error 503 Service Unavailable"),
        ("slow", PollResult.TIMEOUT, "poll.timeout"),
        ("cut", PollResult.BAD_RESPONSE, "cut short"),
        ("reset", PollResult.UNREACHABLE, "cannot be reached"),
        ("html", PollResult.BAD_RESPONSE, "not the JSON asked for"),
        ("wrong-json", PollResult.BAD_RESPONSE, "items in an answer about museum is not a list"),
    ],
)
def test_each_fault_is_one_of_our_words_and_says_what_to_do(
    simulator: Simulator, fault: str, result: PollResult, says: str
) -> None:
    simulator.faults.add(Fault(fault, seconds=2 if fault == "slow" else 0))
    with pytest.raises(SourceError) as caught:
        read(api(simulator, timedelta(seconds=0.5)), "museum")
    assert (caught.value.result, says in str(caught.value)) == (result, True), str(caught.value)


def test_a_refused_listing_of_runs_names_its_permission(simulator: Simulator) -> None:
    simulator.faults.add(Fault("forbidden", method="backupRuns.list"))
    with pytest.raises(SourceError, match=r"grant cloudsql\.backupRuns\.list"):
        read(api(simulator), "museum")


def test_an_expired_page_token_is_an_error_and_no_shorter_listing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exporter.googleapis.cloudsql.PAGE_SIZE", 7)
    simulator.faults.add(Fault("expired-token"))
    with pytest.raises(SourceError, match="token has expired"):
        read(api(simulator), "museum")


def test_nobody_listening_is_unreachable(simulator: Simulator) -> None:
    source = api(simulator)
    simulator.stop()
    with pytest.raises(SourceError) as caught:
        read(source, "museum")
    assert caught.value.result is PollResult.UNREACHABLE
    simulator.start = lambda: None  # type: ignore[method-assign] # stopped already


def test_an_unreachable_region_is_named(simulator: Simulator) -> None:
    simulator.faults.add(Fault("unreachable-region", region="europe-west4"))
    assert read(api(simulator), "shop-prod").unreachable_regions == ("europe-west4",)


def test_requests_are_observed_with_method_and_code(simulator: Simulator) -> None:
    seen: list[tuple[str, str]] = []
    settings = CloudSql.model_validate({"endpoint": simulator.url, "credentials": "anonymous"})
    source = GoogleApis(
        settings, TIMEOUT, 8, retrying(), lambda method, code, _seconds: seen.append((method, code))
    ).source(time.monotonic())
    read(source, "museum")
    simulator.faults.add(Fault("quota", times=1))
    simulator.faults.add(Fault("reset"))
    for _ in range(2):
        with pytest.raises(SourceError):
            list(source.backup_runs("museum", ALL_INSTANCES))
    assert seen == [
        ("instances.list", "200"),
        ("backupRuns.list", "200"),
        ("backupRuns.list", "429"),
        ("backupRuns.list", "unreachable"),
    ]


def test_threads_have_connections_of_their_own(simulator: Simulator) -> None:
    source = api(simulator)
    whole = read(WorldSource(simulator.world), "museum")
    told: list[ProjectScan] = []
    threads = [threading.Thread(target=lambda: told.append(read(source, "museum"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert told == [whole] * 8


def test_a_search_finds_projects(simulator: Simulator) -> None:
    assert list(api(simulator).projects("labels.env=prod state:ACTIVE")) == [
        "museum",
        "sealed",
        "shop-prod",
        "warehouse-prod",
    ]
    assert list(api(simulator).projects("id:museum")) == ["museum"]


@pytest.mark.parametrize(("content", "says"), [(None, "No such file"), ("{", "Expecting"), ("{}", "fields")])
def test_a_key_file_that_cannot_be_used_is_one_clear_error(tmp_path: Path, content: str | None, says: str) -> None:
    file = tmp_path / "key.json"
    if content is not None:
        file.write_text(content)
    settings = CloudSql.model_validate({"credentials": {"file": str(file)}})
    with pytest.raises(
        CredentialsError, match=r"key\.json cannot be used.*check cloudsql\.credentials\.file"
    ) as caught:
        GoogleApis(settings, TIMEOUT, 8, retrying(), observe)
    assert says in str(caught.value)


def test_credentials_that_cannot_be_found_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))
    with pytest.raises(CredentialsError, match="gcloud auth application-default login"):
        GoogleApis(CloudSql(), TIMEOUT, 8, retrying(), observe)


def test_the_world_source_is_not_kinder_than_http(simulator: Simulator) -> None:
    """The tests that use it without a network rest on this."""
    assert replace(read(api(simulator), "warehouse-prod")) == read(WorldSource(simulator.world), "warehouse-prod")


class Canned(BaseHTTPRequestHandler):
    """Answers every request with one status and body."""

    status, body = 200, b""

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_args: object) -> None:
        """Say nothing."""


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
def test_an_odd_body_is_one_of_our_words_too(status: int, body: bytes, result: PollResult) -> None:
    handler = type("Handler", (Canned,), {"status": status, "body": body})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        settings = CloudSql.model_validate(
            {"endpoint": f"http://127.0.0.1:{server.server_port}/", "credentials": "anonymous"}
        )
        codes: list[str] = []
        observed = GoogleApis(settings, TIMEOUT, 8, retrying(), lambda _method, code, _seconds: codes.append(code))
        with pytest.raises(SourceError) as caught:
            list(observed.source(time.monotonic()).instances("museum"))
    assert caught.value.result is result
    assert str(caught.value).encode()
    if status >= 300:
        assert codes == [str(status)]


class TricklingBody(Canned):
    """Sends a byte every 50 ms, for a minute."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1200")
        self.end_headers()
        self.trickle(b" ")

    def trickle(self, piece: bytes) -> None:
        with contextlib.suppress(OSError):
            for _ in range(1200):
                self.wfile.write(piece)
                threading.Event().wait(0.05)


class TricklingHead(TricklingBody):
    """The same, before the headers are at an end."""

    def do_GET(self) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Header: ")
        self.trickle(b"x")


@pytest.mark.parametrize("handler", [TricklingBody, TricklingHead])
def test_an_answer_that_trickles_in_is_given_up_in_time(simulator: Simulator, handler: type[Canned]) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = api(simulator, timedelta(seconds=0.5), endpoint=f"http://127.0.0.1:{server.server_port}/")
        began = time.monotonic()
        with pytest.raises(SourceError) as caught:
            list(source.instances("museum"))
        took = time.monotonic() - began
        server.shutdown()
    assert caught.value.result is PollResult.TIMEOUT
    assert took < 10


def test_a_number_of_absurd_length_spoils_only_its_own_field(simulator: Simulator) -> None:
    handler = type("Handler", (Canned,), {"body": b'{"items": [{"id": %s, "instance": "a"}]}' % (b"9" * 10_000)})
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.handle_request, daemon=True).start()
        (page,) = api(simulator, endpoint=f"http://127.0.0.1:{server.server_port}/").backup_runs("museum", "-")
    assert page.items == [b'{"id": %s, "instance": "a"}' % (b"9" * 10_000)]
    with pytest.raises(parse.UnreadableItemError, match="windowStartTime"):
        parse.backup_run(parse.json_value(page.items[0]), latest=NOW)


def test_a_key_file_signs_requests_with_a_token_fetched_once(tmp_path: Path) -> None:
    """The token endpoint of the key is a server of the test's own."""
    seen: list[str] = []

    class Google(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            seen.append("token")
            self._reply(b'{"access_token": "secret-token", "expires_in": 3600, "token_type": "Bearer"}')

        def do_GET(self) -> None:
            seen.append(self.headers["Authorization"])
            self._reply(b'{"kind": "sql#instancesList"}')

        def _reply(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing."""

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    with ThreadingHTTPServer(("127.0.0.1", 0), Google) as server:
        server.daemon_threads, server.block_on_close = True, False
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        file = tmp_path / "key.json"
        account = {"type": "service_account", "client_email": "a@b.iam.gserviceaccount.com", "private_key": pem}
        file.write_text(json.dumps({**account, "private_key_id": "1", "token_uri": f"{url}token", "project_id": "b"}))
        settings = CloudSql.model_validate({"endpoint": url, "credentials": {"file": str(file)}})
        source = GoogleApis(settings, TIMEOUT, 8, retrying(), observe).source(time.monotonic())
        for _ in range(2):
            assert list(source.instances("museum")) == [Page([])]
        server.shutdown()
    assert seen == ["token", "Bearer secret-token", "Bearer secret-token"]
