"""Google's APIs. The only package that imports Google's libraries; docs/api.md describes the APIs and their traps."""

from exporter.googleapis.credentials import CredentialsError
from exporter.googleapis.retry import RateLimiter, Retrying
from exporter.googleapis.source import GoogleApis

__all__ = ["CredentialsError", "GoogleApis", "RateLimiter", "Retrying"]
