"""Access tokens of every kind of credentials: success, renewal, and failures of the endpoint that issues them."""

import json
import logging
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from exporter.config import CloudSql
from exporter.facts.model import PollResult
from exporter.googleapis import GoogleApis
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.googleapis.source import GoogleSource
from exporter.scan.source import SourceError
from exporter.simulator import WORLDS, Simulator
from tests.googleapis.helpers import ignore, retrying, serve
from tests.support.builders import world
from tests.support.token_endpoint import (
    KEY_ACCOUNT,
    METADATA,
    METADATA_ACCOUNT,
    SUBJECT_TOKEN,
    Response,
    TokenEndpoint,
    service_account_key,
)

TARGET = "reader@shop.iam.gserviceaccount.com"
IAM = f"/v1/projects/-/serviceAccounts/{TARGET}:generateAccessToken"
WORKLOAD_PROVIDER = "//iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/pool/providers/oidc"
WORKFORCE_PROVIDER = "//iam.googleapis.com/locations/global/workforcePools/staff/providers/okta"
REFRESH_TOKEN, CLIENT_SECRET = "1//refresh-token-secret", "client-secret-secret"


@dataclass(frozen=True)
class Kind:
    """A kind of credentials: the path of its token endpoint, whose token that issues, and what to do if it refuses."""

    path: str
    principal: str
    remedy: str


KINDS = {
    "metadata server": Kind(
        f"{METADATA}token",
        f"{METADATA_ACCOUNT} (metadata server)",
        f"grant roles/iam.workloadIdentityUser on {METADATA_ACCOUNT}",
    ),
    "metadata server, account": Kind(METADATA, "the service account of this workload", "attach a service account"),
    "key file": Kind(
        "/token", f"{KEY_ACCOUNT} (service account key)", "create another key if this one was deleted or disabled"
    ),
    "impersonation": Kind(
        IAM, f"{TARGET} (impersonated)", f"{METADATA_ACCOUNT} has roles/iam.serviceAccountTokenCreator on it"
    ),
    "impersonation, source": Kind(
        f"{METADATA}token",
        f"{METADATA_ACCOUNT} (metadata server)",
        f"grant roles/iam.workloadIdentityUser on {METADATA_ACCOUNT}",
    ),
    "workload federation": Kind("/sts", WORKLOAD_PROVIDER, "check that the pool and the provider exist"),
    "workload federation, subject token": Kind("/subject-token", "subject token", "check credential_source"),
    "workload federation, impersonation": Kind(
        IAM, f"{TARGET} (impersonated)", f"({WORKLOAD_PROVIDER}) has roles/iam.workloadIdentityUser on it"
    ),
    "workforce federation": Kind("/sts", WORKFORCE_PROVIDER, "check that the pool and the provider exist"),
    "user": Kind(
        "/token", "the user of the application default credentials", "run `gcloud auth application-default login` again"
    ),
}
GKE_TEXT = """Unable to generate access token; IAM returned 403 Forbidden: Permission
'iam.serviceAccounts.getAccessToken' denied on resource (or it may not exist).
This error could be caused by a missing IAM policy binding on the target IAM service account"""
HTML = "<html><title>Sign in</title></html>"
REFUSED = Response(400, '{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
FORBIDDEN = Response(403, '{"error": {"code": 403, "message": "Permission denied.", "status": "PERMISSION_DENIED"}}')
UNAVAILABLE = Response(503, "<h1>Service Unavailable</h1>", "text/html")
# What the endpoint does, what the message says about it, and whether it refuses: then the remedy of the kind follows,
# and the request is not retried.
FAILURES = {
    "400": (REFUSED, "answered 400 invalid_grant: Invalid JWT Signature;", True),
    "403": (FORBIDDEN, "answered 403 Permission denied;", True),
    "403 text": (Response(403, GKE_TEXT, "text/plain"), f"answered 403 {' '.join(GKE_TEXT.split())};", True),
    "403 HTML": (Response(403, HTML, "text/html"), "answered 403 Sign in;", True),
    "404": (Response(404, ""), "answered 404 no reason given;", True),
    "429": (Response(429, "slow down"), "answered 429 slow down; if this lasts", False),
    "503": (UNAVAILABLE, "answered 503 Service Unavailable; if this lasts, check that 127.0.0.1 is up", False),
    "HTML": (Response(200, HTML, "text/html"), "answered 200 without a usable token", False),
    "other JSON": (Response(200, "{}"), "answered 200 without a usable token", False),
    "timeout": ("hangs", "did not respond in time; if this lasts", False),
    "connection refused": ("stopped", "cannot be reached: ", False),
}


class Api(BaseHTTPRequestHandler):
    """The Cloud SQL Admin API: an empty list of instances, after `rejected` responses with status 401."""

    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True
    tokens: list[str]
    rejected = 0

    def do_GET(self) -> None:
        self.tokens.append(self.headers["Authorization"].removeprefix("Bearer "))
        rejected = len(self.tokens) <= self.rejected
        body = b"{}" if rejected else b'{"kind": "sql#instancesList"}'
        self.send_response(401 if rejected else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Log nothing."""


class Setup:
    """A Google of this test: an API, and a token endpoint."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, endpoint: TokenEndpoint, api_url: str) -> None:
        self._folder, self._monkeypatch, self._api_url = folder, monkeypatch, api_url
        self.endpoint = endpoint
        self.api = Api
        self.requests: list[tuple[str, str]] = []  # observed: method and code
        self.retries: list[str] = []

    def source(self, kind: str, *, timeout: float = 5, seconds: float = 0) -> GoogleSource:
        """A source that signs with credentials of a kind, and retries transient errors for `seconds`."""
        return self.apis(kind, timeout=timeout).source(time.monotonic() + seconds)

    def apis(self, kind: str, accounts: Collection[str] = (), *, timeout: float = 5) -> GoogleApis:
        """The API, called with credentials of a kind or, in their place, as other accounts."""
        settings = CloudSql.model_validate({"endpoint": self._api_url, "credentials": self._credentials(kind)})
        retrying = Retrying(RateLimiter(60_000), threading.Event(), self.retries.append)
        return GoogleApis(
            settings,
            timedelta(seconds=timeout),
            8,
            retrying,
            lambda method, code, _seconds: self.requests.append((method, code)),
            accounts,
        )

    def _credentials(self, kind: str) -> object:
        """The value of cloudsql.credentials, with its files and environment variables in place."""
        url, federation = self.endpoint.url, {"type": "external_account", "token_url": f"{self.endpoint.url}/sts"}
        token_file = {"credential_source": {"file": self._file("subject.txt", SUBJECT_TOKEN)}}
        workload = {
            **federation,
            "audience": WORKLOAD_PROVIDER,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        }
        match kind.partition(",")[0]:
            case "metadata server":
                return "adc"
            case "impersonation":
                return {"impersonate": TARGET, "lifetime": "1h"}
            case "key file":
                return {"file": self._file("key.json", json.dumps(service_account_key(f"{url}/token")))}
            case "user":
                user = {"type": "authorized_user", "client_id": "1", "client_secret": CLIENT_SECRET}
                return self._default({**user, "refresh_token": REFRESH_TOKEN})
            case "workforce federation":
                return self._default(
                    {**workload, **token_file, "audience": WORKFORCE_PROVIDER, "workforce_pool_user_project": "1"}
                )
        match kind.partition(", ")[2]:
            case "subject token":
                json_format = {"type": "json", "subject_token_field_name": "id_token"}
                source = {"url": f"{url}/subject-token", "format": json_format}
                return self._default({**workload, "credential_source": source})
            case "impersonation":
                return self._default({**workload, **token_file, "service_account_impersonation_url": f"{url}{IAM}"})
        return self._default({**workload, **token_file})

    def _default(self, content: dict[str, object]) -> str:
        self._monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", self._file("adc.json", json.dumps(content)))
        return "adc"

    def _file(self, name: str, content: str) -> str:
        (self._folder / name).write_text(content)
        return str(self._folder / name)


@pytest.fixture
def setup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Setup]:
    monkeypatch.setattr("exporter.googleapis.retry.INITIAL_BACKOFF", 0.001)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))  # without credentials
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Api, "tokens", [], raising=False)
    monkeypatch.setattr(Api, "rejected", 0)
    with TokenEndpoint() as endpoint, serve(Api) as api_url:
        monkeypatch.setenv("GCE_METADATA_IP", endpoint.address)
        monkeypatch.setattr("google.auth.compute_engine._metadata._GCE_METADATA_HOST", endpoint.address)
        iam = f"{endpoint.url}/v1/projects/-/serviceAccounts/{{}}:generateAccessToken"
        monkeypatch.setattr("google.auth.iam._IAM_ENDPOINT", iam)
        monkeypatch.setattr("google.oauth2.credentials._GOOGLE_OAUTH2_TOKEN_ENDPOINT", f"{endpoint.url}/token")
        yield Setup(tmp_path, monkeypatch, endpoint, api_url)


def request_error(source: GoogleSource) -> SourceError:
    with pytest.raises(SourceError) as raised:
        list(source.instances("shop"))
    return raised.value


def unauthenticated(source: GoogleSource) -> str:
    """The message of the error with this result that a request raises."""
    error = request_error(source)
    assert error.result is PollResult.UNAUTHENTICATED, str(error)
    return str(error)


def assert_no_secret(text: str, endpoint: TokenEndpoint) -> None:
    private_key = service_account_key("")["private_key"].splitlines()[1:-1]
    for secret in (SUBJECT_TOKEN, REFRESH_TOKEN, CLIENT_SECRET, *private_key, *endpoint.tokens):
        assert secret not in text


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("kind", KINDS)
def test_failed_token_request_is_reported_as_such(
    setup: Setup, kind: str, failure: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    endpoint, expected = setup.endpoint, KINDS[kind]
    source = setup.source(kind, timeout=0.5)
    fault, reason, remedy_follows = FAILURES[failure]
    if isinstance(fault, Response):
        endpoint.failures[expected.path] = fault
    elif fault == "hangs":
        endpoint.hanging = expected.path
    else:
        endpoint.stop()
    error = request_error(source)
    message = str(error)
    assert (error.result, error.transient) == (PollResult.UNAUTHENTICATED, not remedy_follows), message
    assert message.startswith("instances.list of project 'shop': no access token for ")
    assert f": {endpoint.address} {reason}" in message
    if failure != "connection refused":  # then the first request fails, which may be that of another endpoint
        assert expected.principal in message
    assert (expected.remedy in message) is remedy_follows, message
    assert_no_secret(message + caplog.text, endpoint)
    assert (setup.requests, Api.tokens) == ([], [])


@pytest.mark.parametrize("host", ["iam", "sts"])
def test_disabled_api_of_the_token_endpoint_is_named(setup: Setup, host: str) -> None:
    source = setup.source("workload federation, impersonation")
    error = {"message": "The API has not been used.", "details": [{"reason": "SERVICE_DISABLED"}]}
    path = IAM if host == "iam" else "/sts"
    setup.endpoint.failures[path] = Response(403, json.dumps({"error": error}))
    assert unauthenticated(source).endswith("; enable the API: gcloud services enable 127.0.0.1")


def test_missing_subject_token_file_is_named(setup: Setup, tmp_path: Path) -> None:
    source = setup.source("workload federation")
    file = tmp_path / "subject.txt"
    file.unlink()
    message = f"no access token: File '{file}' was not found; check cloudsql.credentials"
    assert unauthenticated(source) == f"instances.list of project 'shop': {message}"
    file.mkdir()
    assert f"no access token: [Errno 21] Is a directory: '{file}'; check" in unauthenticated(source)


def test_response_without_a_valid_expiry_does_not_show_its_token(setup: Setup) -> None:
    source = setup.source("impersonation")
    setup.endpoint.failures[IAM] = Response(200, '{"accessToken": "another-secret", "expireTime": "soon"}')
    assert "another-secret" not in unauthenticated(source)


def test_retry_after_of_the_token_endpoint_is_respected(setup: Setup) -> None:
    """A retry after the deadline is not made."""
    source = setup.source("key file", seconds=30)
    setup.endpoint.failures["/token"] = Response(503, "busy", headers={"Retry-After": "60"})
    unauthenticated(source)
    assert setup.retries == []


OTHERS = [f"{name}@shop.iam.gserviceaccount.com" for name in ("orders", "payments")]


@pytest.mark.parametrize("kind", ["metadata server", "key file", "impersonation", "workload federation", "user"])
def test_each_account_signs_with_its_own_token_which_the_same_source_requests(setup: Setup, kind: str) -> None:
    apis = setup.apis(kind, OTHERS)
    for account in (*OTHERS, None, *OTHERS):
        list(apis.source(0, account).instances("shop"))
    assert len(set(Api.tokens)) == 3
    assert Api.tokens[:2] == Api.tokens[3:]
    impersonated = [path.split("/")[-1].split(":")[0] for path in setup.endpoint.paths if "generateAccess" in path]
    assert impersonated == [*OTHERS, TARGET] if kind == "impersonation" else OTHERS


def test_failure_to_impersonate_one_account_affects_no_other(setup: Setup) -> None:
    apis = setup.apis("key file", OTHERS)
    setup.endpoint.failures[f"{OTHERS[0]}:generateAccessToken"] = FORBIDDEN
    message = unauthenticated(apis.source(0, OTHERS[0]))
    assert f"no access token for {OTHERS[0]} (impersonated): " in message
    assert f"{KEY_ACCOUNT} has roles/iam.serviceAccountTokenCreator on it" in message
    assert_no_secret(message, setup.endpoint)
    list(apis.source(0, OTHERS[1]).instances("shop"))
    list(apis.source(0).instances("shop"))


def test_anonymous_requests_of_an_account_are_not_signed() -> None:
    with Simulator(world(WORLDS["healthy"]())) as simulator:
        settings = CloudSql.model_validate({"endpoint": simulator.url, "credentials": "anonymous"})
        apis = GoogleApis(settings, timedelta(seconds=5), 8, retrying(), ignore, OTHERS)
        assert [len(page.items) for page in apis.source(0, OTHERS[0]).instances("shop-prod")] == [8]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.endswith((", account", ", source"))])
class TestRenewal:
    """Requests of one source, by the tokens that sign them."""

    def test_token_is_used_until_it_is_about_to_expire(self, setup: Setup, kind: str) -> None:
        source = setup.source(kind)
        for _ in range(3):
            assert [page.items for page in source.instances("shop")] == [[]]
        assert Api.tokens == [setup.endpoint.tokens[-1]] * 3
        assert setup.requests == [("instances.list", "200")] * 3

    @pytest.mark.parametrize("lifetime", [60, -1], ids=["about to expire", "expired"])
    def test_token_is_renewed_before_a_request(self, setup: Setup, kind: str, lifetime: int) -> None:
        source = setup.source(kind)
        setup.endpoint.lifetime = lifetime
        list(source.instances("shop"))
        setup.endpoint.lifetime = 3600
        list(source.instances("shop"))
        list(source.instances("shop"))
        first, second, third = Api.tokens
        assert first != second == third == setup.endpoint.tokens[-1]

    def test_token_that_the_api_rejects_is_renewed_once(
        self, setup: Setup, kind: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = setup.source(kind)
        monkeypatch.setattr(Api, "rejected", 1)
        assert [page.items for page in source.instances("shop")] == [[]]
        first, second = Api.tokens
        assert first != second == setup.endpoint.tokens[-1]
        assert setup.requests == [("instances.list", "401"), ("instances.list", "200")]
        monkeypatch.setattr(Api, "rejected", 9)
        assert "401" in unauthenticated(source)
        assert len(Api.tokens) == 4

    def test_failed_renewal_is_reported_and_its_end_too(self, setup: Setup, kind: str) -> None:
        source = setup.source(kind)
        setup.endpoint.lifetime = -1
        list(source.instances("shop"))
        setup.endpoint.failures[KINDS[kind].path] = FORBIDDEN
        assert KINDS[kind].remedy in unauthenticated(source)
        setup.endpoint.failures.clear()
        assert [page.items for page in source.instances("shop")] == [[]]

    def test_all_threads_renew_at_the_same_time(self, setup: Setup, kind: str) -> None:
        """No project waits for the token request of another: each response here waits for those of all threads."""
        barrier = threading.Barrier(8, timeout=10)
        setup.endpoint.before_token = barrier.wait
        source = setup.source(kind)
        threads = [threading.Thread(target=lambda: list(source.instances("shop"))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(Api.tokens) == 8

    def test_transient_failure_is_retried(self, setup: Setup, kind: str) -> None:
        source = setup.source(kind, seconds=30)
        setup.endpoint.failures[KINDS[kind].path], setup.endpoint.failures_left = UNAVAILABLE, 2
        assert [page.items for page in source.instances("shop")] == [[]]
        assert setup.retries == ["instances.list"] * 2
        assert setup.requests == [("instances.list", "200")]

    def test_refusal_is_not_retried(self, setup: Setup, kind: str) -> None:
        source = setup.source(kind, seconds=30)
        setup.endpoint.failures[KINDS[kind].path] = REFUSED
        unauthenticated(source)
        assert setup.retries == []
        assert sum(path.endswith(KINDS[kind].path) for path in setup.endpoint.paths) == 1

    def test_secrets_that_a_response_quotes_are_redacted(self, setup: Setup, kind: str) -> None:
        source = setup.source(kind)
        setup.endpoint.echo = KINDS[kind].path
        message = unauthenticated(source)
        assert "answered 400" in message
        assert_no_secret(message, setup.endpoint)

    @pytest.mark.parametrize("token", ["sec\nret", "secrét", 5, {"value": "secret"}])
    def test_unusable_token_is_not_shown(self, setup: Setup, kind: str, token: object) -> None:
        source = setup.source(kind)
        fields = {"access_token": token, "accessToken": token, "expires_in": 3600, "expireTime": "2999-01-01T00:00:00Z"}
        setup.endpoint.failures[KINDS[kind].path] = Response(200, json.dumps(fields))
        for _ in range(2):
            message = unauthenticated(source)
            assert not {"sec", "ret", "secret"} & set(message.replace("'", " ").split())

    def test_loading_obtains_no_token(self, setup: Setup, kind: str) -> None:
        setup.endpoint.failures["/sts"] = setup.endpoint.failures[KINDS[kind].path] = UNAVAILABLE
        setup.endpoint.failures["/universe/universe-domain"] = UNAVAILABLE
        setup.source(kind)
        assert set(setup.endpoint.paths) <= {"/", "/computeMetadata/v1/project/project-id"}
