"""The only room that knows Google's libraries. What the API does, and the traps of its client, are in docs/api.md."""

from exporter.cloudsql.api import CloudSqlApi, PatientApi
from exporter.cloudsql.connection import CredentialsError

__all__ = ["CloudSqlApi", "CredentialsError", "PatientApi"]
