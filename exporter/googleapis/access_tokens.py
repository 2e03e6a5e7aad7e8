"""Access tokens: they sign requests, and are renewed by token requests, whose failures are errors of their own."""

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qs, quote_plus, urlsplit

from google.auth import jwt
from google.auth.credentials import TokenState
from google.auth.exceptions import GoogleAuthError

from exporter.facts.model import PollResult
from exporter.googleapis.errors import (
    DISABLED_REASONS,
    TRANSPORT_ERRORS,
    failure_reason,
    parse_body,
    retry_after_seconds,
)
from exporter.googleapis.transport import Response, Transport
from exporter.scan.source import SourceError

# What google-auth raises for a file that it cannot use, or for a response with status 200 that has no token.
_RENEWAL_ERRORS = (GoogleAuthError, OSError, ValueError, TypeError, LookupError, AttributeError)
_TRANSIENT_STATUSES = frozenset({408, 429})  # and 5xx
_SECRET_FIELDS = ("assertion", "subject_token", "refresh_token", "client_secret")


class AccessTokens:
    """Signs requests with the access token of credentials. Safe to share between threads.

    Threads that find the token about to expire all renew it: none waits for the slow renewal of another.
    """

    def __init__(self, credentials: Any, transport: Transport) -> None:
        """Without credentials (None), requests are not signed."""
        self._credentials, self._transport = credentials, transport

    @property
    def renewable(self) -> bool:
        """Whether there are tokens at all."""
        return self._credentials is not None

    def sign(self, request: str, headers: Mapping[str, str], *, renew: bool = False) -> dict[str, str]:
        """The headers of a request with the access token, a new one if it is about to expire or `renew` is set.

        `request` names the request in errors. Raises SourceError, with the result `unauthenticated`.
        """
        signed = dict(headers)
        if self._credentials is None:
            return signed
        token_requests = _TokenRequests(self._credentials, self._transport, request)
        try:
            if renew or self._credentials.token_state is not TokenState.FRESH:
                self._credentials.refresh(token_requests)
            if not self._credentials.token.isascii() or not self._credentials.token.isprintable():
                raise ValueError("no header can contain the token")
            self._credentials.apply(signed)
        except _RENEWAL_ERRORS as error:
            raise token_requests.unusable(error) from None  # google-auth's errors contain responses, and tokens
        return signed


class _TokenRequests:
    """Sends the requests that google-auth asks for to renew one token, as its transport.Request.

    Any other status than 200 ends the renewal here: google-auth would sleep and retry, without a deadline.
    """

    def __init__(self, credentials: Any, transport: Transport, request: str) -> None:
        self._source = getattr(credentials, "_source_credentials", credentials)  # those that impersonate others
        self._transport, self._request = transport, request
        self._url: str | None = None  # of the latest token request
        self._form: dict[str, str] = {}

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> Response:
        """Send a request. Raises SourceError."""
        self._url, self._form = url, _form_fields(body)
        if_this_lasts = f"if this lasts, check that {urlsplit(url).hostname} is up and can be reached from here"
        try:
            response = self._transport.send(method, url, headers or {}, body, timeout)
        except TRANSPORT_ERRORS as error:
            raise self._error(failure_reason(error), if_this_lasts, transient=True) from error
        if response.status == 200:
            return response
        message, reasons = parse_body(_redact(response.body, _secrets(headers or {}, self._form)))
        transient, advice = response.status >= 500 or response.status in _TRANSIENT_STATUSES, None
        if reasons & DISABLED_REASONS:
            advice = f"enable the API: gcloud services enable {urlsplit(url).hostname}"
        elif transient:
            advice = if_this_lasts
        reason = f"answered {response.status} {message.rstrip('.')}"
        raise self._error(reason, advice, transient=transient, retry_after=retry_after_seconds(response.headers))

    def unusable(self, error: Exception) -> SourceError:
        """The error for credentials that google-auth cannot use, or a response without a token. Quotes no response."""
        args = error.args if isinstance(error, GoogleAuthError) else ()
        said = args[0].rstrip(".") if args and isinstance(args[0], str) else ""
        if self._url is None:
            reason = said or (str(error) if isinstance(error, OSError) else type(error).__name__)
            text = f"{self._request}: no access token: {reason}; check cloudsql.credentials"
            return SourceError(PollResult.UNAUTHENTICATED, text)
        reason = "answered 200 without a usable token" + (f" ({said})" if said else "")
        return self._error(reason, "check for a proxy in between, or a wrong URL in the credentials", transient=True)

    def _error(
        self, reason: str, advice: str | None, *, transient: bool, retry_after: float | None = None
    ) -> SourceError:
        """The error for the latest token request; `advice` is by default what to do where it was refused."""
        url = self._url or ""
        principal, remedy = _principal_and_remedy(url, self._form, self._source)
        host = urlsplit(url).netloc.rpartition("@")[2]
        text = f"{self._request}: no access token for {principal}: {host} {reason}; {advice or remedy}"
        return SourceError(PollResult.UNAUTHENTICATED, text, transient=transient, retry_after=retry_after)


def _principal_and_remedy(url: str, form: Mapping[str, str], source: Any) -> tuple[str, str]:
    """Whose token a request asked for, and what to do where it was refused."""
    account = getattr(source, "service_account_email", None)
    if url.endswith(":generateAccessToken"):
        target = url.rpartition("/")[2].partition(":")[0]
        if audience := getattr(source, "info", {}).get("audience"):
            role, grantee = "roles/iam.workloadIdentityUser", f"the federated identity ({audience})"
        else:
            role = "roles/iam.serviceAccountTokenCreator"
            grantee = account or "the account of the application default credentials"
        remedy = f"check that {target} exists, that {grantee} has {role} on it, and that the lifetime is allowed"
        return f"{target} (impersonated)", remedy
    if "/computeMetadata/" in url:
        target = "the service account of this workload" if account in (None, "default") else account
        return f"{target} (metadata server)", (
            f"on GKE, grant roles/iam.workloadIdentityUser on {target} to the Kubernetes service account of this pod, "
            "and check its annotation iam.gke.io/gcp-service-account; elsewhere, attach a service account"
        )
    match form.get("grant_type", "").rpartition(":")[2]:
        case "jwt-bearer":
            return f"{jwt.decode(form['assertion'], verify=False)['iss']} (service account key)", (
                "create another key if this one was deleted or disabled, enable the account if it is disabled, and "
                "check the clock of this machine"
            )
        case "refresh_token":
            return (
                "the user of the application default credentials",
                "run `gcloud auth application-default login` again",
            )
        case "token-exchange":
            return f"the federated identity ({form.get('audience')})", (
                "check that the pool and the provider exist and are enabled, and that issuer, audience and attribute "
                "condition of the provider accept the subject token"
            )
    return "the federated identity (its subject token)", "check credential_source in the federation file"


def _form_fields(body: bytes | None) -> dict[str, str]:
    """The first value of each field."""
    return {name: values[0] for name, values in parse_qs((body or b"").decode(errors="replace")).items()}


def _secrets(headers: Mapping[str, str], form: Mapping[str, str]) -> Iterator[str]:
    """What a request contained and no message may."""
    yield from (value.rpartition(" ")[2] for name, value in headers.items() if name.lower() == "authorization")
    yield from (form[name] for name in _SECRET_FIELDS if name in form)


def _redact(body: bytes, secrets: Iterator[str]) -> bytes:
    """A body without the secrets that it quotes from the request."""
    for secret in secrets:
        for quoted in (secret, quote_plus(secret)):
            body = body.replace(quoted.encode(), b"[redacted]")
    return body
