"""Credentials that sign requests."""

import os
from collections.abc import Collection
from datetime import timedelta
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


def load_credentials(
    settings: Credentials, quota_project: str | None, universe_domain: str | None, accounts: Collection[str] = ()
) -> dict[str | None, Any]:
    """Signing credentials under None, and for each further account those that impersonate it.

    Values are None for anonymous requests. The account that these settings impersonate, if any, impersonates no other:
    its own source does. Sends at most requests that find a metadata server. Raises CredentialsError.
    """
    if settings.kind == "anonymous":
        return dict.fromkeys((None, *accounts))
    try:
        source = _source_credentials(settings)
        loaded: dict[str | None, Any] = {None: source}
        if settings.impersonate or accounts:
            if isinstance(source, CredentialsWithUniverseDomain):  # else it is read from the metadata server
                source = source.with_universe_domain(universe_domain or DEFAULT_UNIVERSE_DOMAIN)
            if settings.impersonate:
                loaded[None] = _impersonating(source, settings.impersonate, settings.lifetime)
            for account in accounts:
                loaded[account] = _impersonating(source, account, settings.lifetime)
        if quota_project:
            loaded = {account: found.with_quota_project(quota_project) for account, found in loaded.items()}
        return loaded
    except (google.auth.exceptions.GoogleAuthError, OSError, ValueError, AttributeError, TypeError) as error:
        raise CredentialsError(_advice(settings, error)) from error


def _source_credentials(settings: Credentials) -> Any:
    """The credentials that sign requests, or requests for the tokens of impersonated accounts."""
    if settings.kind == "file":
        return service_account.Credentials.from_service_account_file(str(settings.file), scopes=SCOPES)
    # With scopes, this would obtain a token of federated credentials, to find their project.
    return with_scopes_if_required(google.auth.default()[0], SCOPES)


def _impersonating(source: Any, account: str, lifetime: timedelta) -> Any:
    return impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=account,
        target_scopes=list(SCOPES),
        lifetime=round(lifetime.total_seconds()),
    )


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
