"""Credentials that sign requests."""

import os
from typing import Any

import google.auth
import google.auth.exceptions
from google.auth import impersonated_credentials
from google.auth.credentials import DEFAULT_UNIVERSE_DOMAIN, CredentialsWithUniverseDomain, with_scopes_if_required
from google.oauth2 import service_account

from exporter.config import Credentials
from exporter.errors import UserError

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)  # there is no read-only scope; IAM narrows it


class CredentialsError(UserError):
    """No usable credentials; says what to do."""


def load_credentials(settings: Credentials, quota_project: str | None, universe_domain: str | None) -> Any:
    """Signing credentials, or None for anonymous requests. Sends at most requests that find a metadata server.

    Raises CredentialsError.
    """
    try:
        match settings.kind:
            case "anonymous":
                return None
            case "file":
                credentials: Any = service_account.Credentials.from_service_account_file(
                    str(settings.file), scopes=SCOPES
                )
            case "adc" | "impersonate":
                # With scopes, this would obtain a token of federated credentials, to find their project.
                credentials = with_scopes_if_required(google.auth.default()[0], SCOPES)
        if settings.impersonate:
            if isinstance(credentials, CredentialsWithUniverseDomain):  # else it is read from the metadata server
                credentials = credentials.with_universe_domain(universe_domain or DEFAULT_UNIVERSE_DOMAIN)
            credentials = impersonated_credentials.Credentials(
                source_credentials=credentials,
                target_principal=settings.impersonate,
                target_scopes=list(SCOPES),
                lifetime=round(settings.lifetime.total_seconds()),
            )
        return credentials.with_quota_project(quota_project) if quota_project else credentials
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, AttributeError, TypeError) as error:
        raise CredentialsError(_advice(settings, error)) from error


def _advice(settings: Credentials, error: Exception) -> str:
    match error:
        case google.auth.exceptions.GoogleAuthError():
            reason = ": ".join(str(part).rstrip(".") for part in error.args)
        case AttributeError() | TypeError():
            reason = "it is not a credentials file"
        case _:
            reason = str(error)
    reason = (reason.splitlines() or [type(error).__name__])[0].rstrip(".")
    if settings.kind == "file":
        return (
            f"credentials file {settings.file} cannot be used: {reason}; check cloudsql.credentials.file: it must be a "
            "service account key (adc reads other files, from GOOGLE_APPLICATION_CREDENTIALS)"
        )
    if reason.startswith("Your default credentials were not found"):
        return (
            "no application default credentials were found; run `gcloud auth application-default login`, attach a "
            "service account to this workload, or set cloudsql.credentials to {file: key.json}"
        )
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    check = f"check {file}, the file of GOOGLE_APPLICATION_CREDENTIALS, or " if file else ""
    return (
        f"the application default credentials cannot be used: {reason}; {check}run "
        "`gcloud auth application-default login`"
    )
