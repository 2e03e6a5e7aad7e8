"""Credentials that sign requests."""

from typing import Any

import google.auth
import google.auth.exceptions
from google.auth import impersonated_credentials
from google.oauth2 import service_account

from exporter.config import Credentials
from exporter.errors import UserError

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)  # there is no read-only scope; IAM narrows it


class CredentialsError(UserError):
    """No usable credentials; says what to do."""


def load_credentials(settings: Credentials, quota_project: str | None) -> Any:
    """Signing credentials, or None for anonymous requests. Raises CredentialsError."""
    try:
        match settings.kind:
            case "anonymous":
                return None
            case "file":
                credentials: Any = service_account.Credentials.from_service_account_file(
                    str(settings.file), scopes=SCOPES
                )
            case "adc" | "impersonate":
                credentials, _ = google.auth.default(scopes=SCOPES)
        if settings.impersonate:
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
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if settings.kind == "file":
        return f"credentials file {settings.file} cannot be used: {reason}; check cloudsql.credentials.file"
    return (
        "no application default credentials were found; run `gcloud auth application-default login`, attach a "
        "service account to this workload, or set cloudsql.credentials to {file: key.json}"
    )
