"""How Google's APIs are reached: signed or not, over connections that end each request in time."""

import contextlib
import http.client
import json
import socket
import threading
from typing import Any

import google.auth
import google.auth.exceptions
import httplib2
from google.auth import impersonated_credentials
from google.oauth2 import service_account
from googleapiclient import discovery, model

from exporter.config import Credentials

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)  # there is no read-only scope; IAM narrows it


class CredentialsError(Exception):
    """No usable credentials; says what to do."""


def service(name: str, version: str, endpoint: str | None, universe: str | None) -> Any:
    """Google's client for one of its APIs, made without a network from the description it ships."""
    options = {"api_endpoint": endpoint, "universe_domain": universe}
    return discovery.build(
        name,
        version,
        http=httplib2.Http(),  # never used: each request is given the connection of its thread
        model=_Json(False),
        client_options={key: value for key, value in options.items() if value},
        static_discovery=True,
        cache_discovery=False,
    )


def credentials(wanted: Credentials, quota_project: str | None) -> Any:
    """Signing credentials, or None for anonymous requests."""
    try:
        match wanted.kind:
            case "anonymous":
                return None
            case "file":
                found: Any = service_account.Credentials.from_service_account_file(str(wanted.file), scopes=SCOPES)
            case "adc" | "impersonate":
                found, _ = google.auth.default(scopes=SCOPES)
        if wanted.impersonate:
            found = impersonated_credentials.Credentials(
                source_credentials=found,
                target_principal=wanted.impersonate,
                target_scopes=list(SCOPES),
                lifetime=round(wanted.lifetime.total_seconds()),
            )
        return found.with_quota_project(quota_project) if quota_project else found
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, AttributeError, TypeError) as error:
        raise CredentialsError(_credentials_advice(wanted, error)) from error


def _credentials_advice(wanted: Credentials, error: Exception) -> str:
    said = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if wanted.kind == "file":
        return f"credentials file {wanted.file} cannot be used: {said}; check cloudsql.credentials.file"
    return (
        "no application default credentials were found; run `gcloud auth application-default login`, attach a "
        "service account to this workload, or set cloudsql.credentials to {file: key.json}"
    )


class _Keeping:
    """A connection that keeps hold of its socket, which http.client lets go of before the body is read."""

    connected: socket.socket | None = None

    def connect(self) -> None:
        super().connect()  # type: ignore[misc] # of the class it is mixed into
        self.connected = self.sock  # type: ignore[attr-defined] # likewise


class _Plain(_Keeping, httplib2.HTTPConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """Over http."""


class Https(_Keeping, httplib2.HTTPSConnectionWithTimeout):  # type: ignore[misc] # an untyped base
    """Over https."""


class Http(httplib2.Http):  # type: ignore[misc] # an untyped base
    """Ends each request in time, and remembers its status: the library forgets it over an odd error body."""

    status = 0

    def request(self, uri: str, *args: Any, **kwargs: Any) -> Any:
        """As the library's, but a TimeoutError where the whole of it takes longer than `timeout`."""
        kwargs["connection_type"] = Https if uri.startswith("https:") else _Plain
        ended = threading.Event()
        self._aborted = False
        threading.Thread(target=self._watch, args=(ended,), name="request-watch", daemon=True).start()
        try:
            response, content = super().request(uri, *args, **kwargs)
        except (OSError, http.client.HTTPException, httplib2.HttpLib2Error) as error:
            if self._aborted:
                raise TimeoutError("the answer took too long") from error
            raise
        finally:
            ended.set()
        if self._aborted:  # a body that ends with its connection ended here
            raise TimeoutError("the answer took too long")
        self.status = response.status
        return response, content

    def _watch(self, ended: threading.Event) -> None:
        """Cut the request off from another thread: the socket's own timeout is one between two bytes.

        More than once, since the library itself tries again over a new connection.
        """
        while not ended.wait(self.timeout):
            self._aborted = True
            for connection in list(self.connections.values()):
                if connection.connected is not None:
                    with contextlib.suppress(OSError):
                        connection.connected.shutdown(socket.SHUT_RDWR)


class _Json(model.JsonModel):  # type: ignore[misc] # an untyped base
    """JSON whose every number can be read: one of absurd length becomes text, and is refused where it stands."""

    def deserialize(self, content: bytes) -> Any:
        return json.loads(content, parse_int=lambda digits: int(digits) if len(digits) < 30 else digits)

    @property
    def no_content_response(self) -> None:
        """204 is no answer to a question."""
        return None
