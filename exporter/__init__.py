"""Prometheus exporter for the health of Google Cloud SQL backups."""

from importlib.metadata import version

__version__ = version("cloudsql-backup-exporter")
